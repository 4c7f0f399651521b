#!/usr/bin/env python3
"""Makes this folder's models and what PyTorch says of their training, in float64.

A model is exported by PyTorch with its weights replaced by zeros, which compress to nothing; whoever
reads it fills weights, inputs and targets with the numbers of `uniform`, from which `golden.json` was
computed: for every parameter the norm of its gradient and its products with random signs, whose
differences from another gradient's estimate how far the two are apart; and the loss before each of
five steps of plain descent.

    pip install torch onnx numpy && python3 make_architectures.py [network...]
"""

import copy
import gzip
import json
import logging
import math
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from networks import NETWORKS

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
torch.set_num_threads(1)

HERE = Path(__file__).parent
BATCH = 8
STEPS = 5
SIGNS = 16
# Streams of random numbers: the inputs, the targets; parameters follow. Another salt is so many streams on.
INPUTS, TARGETS, PARAMETERS, SALTED = 0, 1, 16, 1 << 16


def bits(stream, count):
    """SplitMix64 (Steele, Lea and Flood 2014) at stream * 2^32 + index."""
    with np.errstate(over="ignore"):
        z = (np.uint64(stream << 32) + np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(stream, count):
    """In [-1, 1), float32 without rounding."""
    return ((bits(stream, count) >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)


def below(stream, count, high):
    return (bits(stream, count) >> np.uint64(33)).astype(np.int64) % high


def signs(stream, count, which):
    return ((bits(stream, count) >> np.uint64(which)) & np.uint64(1)).astype(np.float64) * 2 - 1


def gates(kind, value):
    """PyTorch's gates in ONNX's order: LSTM i f g o -> i o f g, GRU r z n -> z r n."""
    order = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}[kind]
    parts = value.chunk(len(order), 0)
    return torch.cat([parts[index] for index in order], 0)


def recurrent_views(module):
    """How a recurrent layer's parameters stand in ONNX: [1, gates, ...], biases side by side."""
    kind = type(module).__name__
    w, r = (gates(kind, p)[None] for p in (module.weight_ih_l0, module.weight_hh_l0))
    b = torch.cat([gates(kind, p) for p in (module.bias_ih_l0, module.bias_hh_l0)])[None]
    return [w, r, b]


def ungate(kind, value):
    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[kind]
    parts = value.chunk(len(order), 0)
    return torch.cat([parts[index] for index in order], 0)


class Bound:
    """A PyTorch module with the initialisers of its exported model bound to its parameters."""

    def __init__(self, net):
        self.module = net.module
        # Distinct numbers, by which initialisers are recognised.
        torch.manual_seed(1)
        with torch.no_grad():
            for p in self.module.parameters():
                p.copy_(torch.randn_like(p))
        self.model = export(net)
        self.names = [i.name for i in self.model.graph.initializer if i.data_type == 1 and len(i.dims)]
        self.statistics = {k for k, _ in self.module.named_buffers() if "running" in k}
        values = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in self.model.graph.initializer}
        self.views = {name: self.find(name, values[name]) for name in self.names}

    def find(self, name, value):
        own = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        if name in own and own[name].shape == value.shape:
            return ("same", name)
        for key, p in own.items():
            if p.shape == value.shape and torch.equal(p, value):
                return ("same", key)
            if p.ndim == 2 and p.T.shape == value.shape and torch.equal(p.T, value):
                return ("transposed", key)
        for key, module in self.module.named_modules():
            if isinstance(module, nn.RNNBase):
                for index, view in enumerate(recurrent_views(module)):
                    if view.shape == value.shape and torch.equal(view, value):
                        return ("recurrent", key, index)
        raise ValueError(f"{name} {tuple(value.shape)} is no parameter")

    def set(self, name, value):
        """Gives the initialiser's counterpart this value."""
        how, key, *rest = self.views[name]
        value = torch.tensor(value, dtype=torch.float64)
        if how == "recurrent":
            module = self.module.get_submodule(key)
            kind = type(module).__name__
            parts = {0: ["weight_ih_l0"], 1: ["weight_hh_l0"], 2: ["bias_ih_l0", "bias_hh_l0"]}[rest[0]]
            for part, chunk in zip(parts, value[0].chunk(len(parts), 0)):
                getattr(module, part).data = ungate(kind, chunk)
            return
        own = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        own[key].data = value.T if how == "transposed" else value

    def gradient(self, name):
        how, key, *rest = self.views[name]
        if how == "recurrent":
            module = copy.deepcopy(self.module.get_submodule(key))
            for (_, p), (_, q) in zip(module.named_parameters(), self.module.get_submodule(key).named_parameters()):
                p.data = q.grad
            return recurrent_views(module)[rest[0]]
        gradient = dict(self.module.named_parameters())[key].grad
        return gradient.T if how == "transposed" else gradient


def export(net):
    x = torch.zeros(2, *net.dims, dtype=torch.int64 if net.high else torch.float32)
    # Recurrent layers are exported for inference, which folds their weights into ONNX's layout; the others
    # for training, which leaves batch normalisation apart from convolutions.
    settings = {} if net.family == "recurrent" else dict(training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False)
    net.module.train(bool(settings))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(net.module, (x,), file.name, dynamo=False, opset_version=17, input_names=["x"],
                          output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, **settings)
        model = onnx.load(file.name)
    net.module.train()
    # Without weights' names of the exporting machine's run, and its stack traces.
    for node in model.graph.node:
        node.ClearField("doc_string")
    return model


def spread(name, shape, statistics, lifted):
    """Base and scale of a parameter's numbers: Glorot's limit for weights, near 1 for factors unless the
    network is lifted."""
    if name in statistics:
        return (1.0, 0.1) if "var" in name else (0.0, 0.1)
    if len(shape) >= 2:
        field = math.prod(shape[2:])
        return 0.0, float(np.float32(math.sqrt(6 / ((shape[0] + shape[1]) * field))))
    factor, bias = (0.5, 1.25) if lifted else (1.0, 0.0)
    return (factor, 0.1) if name.endswith("weight") else (bias, 0.1)


def examples(net, outputs):
    count = BATCH * math.prod(net.dims)
    inputs, targets = (stream + net.salt * SALTED for stream in (INPUTS, TARGETS))
    x = below(inputs, count, net.high) if net.high else uniform(inputs, count).astype(np.float64)
    x = torch.tensor(x).reshape(BATCH, *net.dims)
    if net.classes:
        return x, torch.tensor(below(targets, BATCH, net.classes))
    t = uniform(targets, math.prod(outputs)).astype(np.float64)
    return x, torch.tensor(t).reshape(outputs)


def golden(name, net):
    bound = Bound(net)
    bound.module.double()
    parameters = []
    first = PARAMETERS + net.salt * SALTED
    for index, key in enumerate(bound.names):
        shape = [int(size) for size in next(i for i in bound.model.graph.initializer if i.name == key).dims]
        base, scale = spread(key, shape, bound.statistics, net.lifted)
        value = np.float32(base) + np.float32(scale) * uniform(first + index, math.prod(shape))
        bound.set(key, value.astype(np.float64).reshape(shape))
        parameters.append({"name": key, "base": base, "scale": scale})
    x = torch.zeros(BATCH, *net.dims, dtype=torch.int64 if net.high else torch.float64)
    with torch.no_grad():
        outputs = copy.deepcopy(bound.module)(x).shape
    x, t = examples(net, outputs)
    objective = nn.CrossEntropyLoss() if net.classes else nn.MSELoss()
    optimizer = torch.optim.SGD(bound.module.parameters(), lr=net.learning_rate)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = objective(bound.module(x), t)
        loss.backward()
        losses.append(float(loss))
        for index, own in enumerate(parameters):
            if step == 0 and own["name"] not in bound.statistics:
                gradient = bound.gradient(own["name"]).detach().numpy().ravel()
                products = [float(signs(first + index, gradient.size, which) @ gradient) for which in range(SIGNS)]
                own |= {"norm": float(np.linalg.norm(gradient)), "products": products}
        optimizer.step()
    for initializer in bound.model.graph.initializer:
        if initializer.name in bound.names:
            zeros = np.zeros([int(size) for size in initializer.dims], np.float32)
            initializer.CopyFrom(numpy_helper.from_array(zeros, initializer.name))
    (HERE / f"{name}.onnx.gz").write_bytes(gzip.compress(bound.model.SerializeToString(), 9, mtime=0))
    count = sum(p.numel() for p in bound.module.parameters())
    print(f"{name}: {count} parameters, losses {[round(loss, 4) for loss in losses]}")
    return {"name": name, "family": net.family, "batch": BATCH, "dims": list(net.dims), "classes": net.classes,
            "high": net.high, "salt": net.salt, "count": count, "learning_rate": net.learning_rate, "losses": losses,
            "parameters": parameters}


def main():
    file = HERE / "golden.json"
    known = {own["name"]: own for own in json.loads(file.read_text())} if file.exists() else {}
    for name in sys.argv[1:] or NETWORKS:
        known[name] = golden(name, NETWORKS[name]())
    rounded = json.loads(json.dumps(known), parse_float=lambda text: float(f"{float(text):.9g}"))
    lines = [json.dumps(rounded[name]) for name in NETWORKS if name in rounded]
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
