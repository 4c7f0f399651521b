"""Numbers that the tests draw as well, and what every framework's script writes."""

import argparse
import gzip
import json
import math
import pathlib
from dataclasses import dataclass, field

import numpy as np
import onnx

HERE = pathlib.Path(__file__).parent
ROWS = 4
STEPS = 4
INPUTS, TARGETS = 0, 1


@dataclass
class Golden:
    """`dims` are those of one example, `high` makes the input indices below it; `losses` are the framework's
    before each step of plain descent on one batch, in float64."""
    name: str
    exporter: str
    opset: int
    loss: str
    dims: tuple
    outputs: int
    high: int
    learning_rate: float
    losses: list = field(default_factory=list)


def bits(stream, count):
    """SplitMix64 (Steele, Lea and Flood 2014) at stream * 2^32 + index."""
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64((stream << 32) + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(stream, shape):
    """In [-1, 1), such that float32 holds them."""
    numbers = (bits(stream, math.prod(shape)) >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0
    return numbers.reshape(shape)


def below(stream, shape, high):
    return ((bits(stream, math.prod(shape)) >> np.uint64(33)) % np.uint64(high)).astype(np.int64).reshape(shape)


def examples(dims, high):
    return below(INPUTS, (ROWS, *dims), high) if high else uniform(INPUTS, (ROWS, *dims))


def targets(loss, shape):
    """Of outputs of this shape."""
    if loss == "softmax_cross_entropy":
        return below(TARGETS, shape[:1], shape[-1])
    if loss == "binary_cross_entropy":
        return below(TARGETS, shape, 2).astype(np.float64)
    return uniform(TARGETS, shape)


def nodes(model):
    """What an exporter wrote but for names: for a later operator set it is often the same."""
    graph = model.graph
    return [(node.op_type, len(node.input), len(node.output), sorted(own.name for own in node.attribute)) for node in graph.node]


def write(model, golden, folder):
    """The model without what the machine that exports it says of itself."""
    graph = model.graph
    for node in graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.ClearField("doc_string")
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    model.ClearField("doc_string")
    onnx.checker.check_model(model)
    file = folder / f"{golden.exporter}_{golden.name}_{golden.opset}.onnx.gz"
    file.write_bytes(gzip.compress(model.SerializeToString(), 9, mtime=0))


def arguments(models):
    """Folder, operator sets or none, and names of the models that a script is to write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, default=HERE)
    parser.add_argument("--opsets", type=lambda text: [int(opset) for opset in text.split(",")])
    parser.add_argument("names", nargs="*", metavar="name")
    given = parser.parse_args()
    return given.folder, given.opsets, given.names or list(models)


def index(rows, exporters, names, folder):
    """Puts the rows of these exporters' models into `golden.json`."""
    file = folder / "golden.json"
    known = json.loads(file.read_text()) if file.exists() else []
    known = [own for own in known if own["exporter"] not in exporters or own["name"] not in names]
    made = json.loads(json.dumps([vars(own) for own in rows]), parse_float=lambda text: float(f"{float(text):.9g}"))
    known = sorted([*known, *made], key=lambda own: (own["exporter"], own["name"], own["opset"]))
    file.write_text("[\n" + ",\n".join(json.dumps(own) for own in known) + "\n]\n")
