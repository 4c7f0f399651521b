#!/usr/bin/env python3
"""Writes small networks over windows of 24 rows of 14 columns, in both layouts: all numbers of a window
through a hidden layer to one output. For the tests of windows here, in edge-agent and in tests/federation.

python3 make_models.py  makes the files again bit for bit; it uses only `onnx` and `numpy`.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS, COLUMNS, HIDDEN = 24, 14, 8
LAYOUTS = {"time_first": [ROWS, COLUMNS], "channels_first": [COLUMNS, ROWS]}


def network(name, dims):
    rng = np.random.default_rng(24)
    numbers = ROWS * COLUMNS
    weights = {
        "hidden.weight": rng.normal(0, numbers**-0.5, (HIDDEN, numbers)).astype(np.float32),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": rng.normal(0, HIDDEN**-0.5, (1, HIDDEN)).astype(np.float32),
        "output.bias": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["windows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "hidden.weight", "hidden.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "output.weight", "output.bias"], ["output"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["batch", *dims])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, tensor) for tensor, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="make_models", ir_version=8)


def main():
    for name, dims in LAYOUTS.items():
        model = network(name, dims)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, Path(__file__).parent / f"{name}.onnx")


main()
