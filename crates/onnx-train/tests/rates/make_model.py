#!/usr/bin/env python3
"""Makes float16.onnx: `y = x·w`, of which the product passes through float16.

    pip install onnx numpy && python3 make_model.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Small, so that a small step from it is not rounded away.
WEIGHTS = np.random.default_rng(5).uniform(-1e-3, 1e-3, (4, 3)).astype(np.float32)


def main():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "n0"),
             helper.make_node("Cast", ["h"], ["half"], "n1", to=TensorProto.FLOAT16),
             helper.make_node("Cast", ["half"], ["y"], "n2", to=TensorProto.FLOAT)]
    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
    graph = helper.make_graph(nodes, "float16", [info("x", 4)], [info("y", 3)],
                              [numpy_helper.from_array(WEIGHTS, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(__file__).parent / "float16.onnx")


main()
