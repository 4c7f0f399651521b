"""What both of PyTorch's exporters write of small models, and how those train in PyTorch in float64.

Needs torch, onnx and onnxscript. `python from_torch.py [name…]` writes the models
of this folder, `--opsets 14,15 --folder OTHER` those of other operator sets into another."""

import contextlib
import copy
import io
import logging
import tempfile
import warnings

import numpy as np
import onnx
import torch
from torch import nn

from _drawn import HERE, ROWS, STEPS, Golden, arguments, examples, index, nodes, targets, uniform, write
from torch_models import MODELS

TORCHSCRIPT, DYNAMO = "torchscript", "dynamo"
OPSETS = {TORCHSCRIPT: range(13, 21), DYNAMO: range(18, 23)}
CONSTANTS = ["group_norm", "instance_norm1d", "resize1d"]
WEIGHTS = 16
KEPT = {TORCHSCRIPT: [13, 20], DYNAMO: [18, 22]}


def judge(loss, outputs, target):
    if loss == "softmax_cross_entropy":
        return nn.functional.cross_entropy(outputs, target)
    if loss == "binary_cross_entropy":
        return nn.functional.binary_cross_entropy(outputs, target)
    return nn.functional.mse_loss(outputs, target)


def curve(own, exact):
    """Losses before each step, and the shape of the outputs."""
    net = copy.deepcopy(exact).train()
    x = torch.tensor(examples(own.dims, own.high))
    with torch.no_grad():
        shape = copy.deepcopy(net)(x).shape
    if own.random:
        return [], shape
    target = torch.tensor(targets(own.loss, tuple(shape)))
    # Of probabilities the loss is that of what goes into the softmax.
    head = net[:-1] if isinstance(net, nn.Sequential) and isinstance(net[-1], (nn.Softmax, nn.LogSoftmax)) else net
    optimizer = torch.optim.SGD(net.parameters(), own.learning_rate)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = judge(own.loss, head(x), target)
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    return losses, shape


def export(own, net, exporter, opset):
    x = torch.tensor(examples(own.dims, own.high))
    x = x if own.high else x.float()
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/model.onnx"
        if exporter == DYNAMO:
            # Of training it knows nothing: normalisation of batches is left out, and for evaluation folded.
            batch = torch.export.Dim("batch", min=2)
            torch.onnx.export(net.eval(), (x,), file, dynamo=True, optimize=not own.training, opset_version=opset, external_data=False,
                              input_names=["x"], output_names=["y"], dynamic_shapes=({0: batch},), verbose=False)
        else:
            mode = torch.onnx.TrainingMode.TRAINING if own.training else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(net.train(own.training), (x,), file, dynamo=False, opset_version=opset, training=mode,
                              do_constant_folding=not own.training, input_names=["x"], output_names=["y"],
                              dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
        return onnx.load(file)


def main():
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder, opsets, names = arguments(MODELS)
    rows = []
    for name in names:
        torch.manual_seed(len(name) * 31 + sum(map(ord, name)))
        own = MODELS[name]()
        # Exporters leave zeros out, such as biases that were never trained.
        with torch.no_grad():
            for place, weight in enumerate(own.module.parameters()):
                weight += 0.1 * torch.tensor(uniform(WEIGHTS + place, tuple(weight.shape))).float()
        kinds = {type(module) for module in own.module.modules()}
        # Otherwise exporters fold normalisation of batches into convolutions, and leave Dropout out.
        own.training = bool(kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout})
        exact = copy.deepcopy(own.module).double()
        losses, shape = curve(own, exact)
        for exporter in OPSETS:
            for opset in [at for at in OPSETS[exporter] if at in (opsets or KEPT[exporter])]:
                try:
                    # The old exporter prints the whole graph when it gives up.
                    with contextlib.redirect_stdout(io.StringIO()):
                        model = export(own, copy.deepcopy(own.module), exporter, opset)
                except Exception as error:
                    print(f"{exporter} {name} {opset}: not exported, {str(error).strip().splitlines()[0][:150]}")
                    continue
                imported = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
                # The newer exporter writes the mode `wrap` of Pad for operator sets that do not have it.
                # Dropout it leaves out.
                if exporter == DYNAMO and (own.random or name == "pad_circular" and opset < 19):
                    continue
                if imported != opset:
                    print(f"{exporter} {name} {opset}: exported for {imported}")
                    continue
                # Constants that the exporter writes as initialisers train as well.
                found = losses[:1] if exporter == DYNAMO and name in CONSTANTS else losses
                outputs = int(np.prod(shape[1:]))
                golden = Golden(name, exporter, opset, own.loss, own.dims, outputs, own.high, own.learning_rate, found)
                if rows and (rows[-1].name, rows[-1].exporter) == (name, exporter) and nodes(model) == before:
                    continue
                before = nodes(model)
                write(model, golden, folder)
                rows.append(golden)
    index(rows, set(OPSETS), names, folder)
    print(len(rows), "models of", ROWS, "examples each")


main()
