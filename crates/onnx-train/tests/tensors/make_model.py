#!/usr/bin/env python3
"""Writes image_and_words.onnx: a model of two inputs, whose classes follow from an image and two words.

Uses only the `onnx` and `numpy` packages:  python3 make_model.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS, WIDTH, CLASSES = 10, 4, 3
IMAGE = [3, 4, 5]


def main():
    rng = np.random.default_rng(7)
    joined = int(np.prod(IMAGE)) + 2 * WIDTH
    weights = {
        "words": rng.uniform(-0.5, 0.5, (WORDS, WIDTH)).astype(np.float32),
        "weight": rng.uniform(-0.2, 0.2, (CLASSES, joined)).astype(np.float32),
        "bias": np.zeros(CLASSES, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["words", "tokens"], ["embedded"]),
        helper.make_node("Flatten", ["embedded"], ["meaning"]),
        helper.make_node("Flatten", ["image"], ["pixels"]),
        helper.make_node("Concat", ["pixels", "meaning"], ["joined"], axis=1),
        helper.make_node("Gemm", ["joined", "weight", "bias"], ["logits"], transB=1),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 2]),
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *IMAGE]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "image_and_words", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(__file__).parent / "image_and_words.onnx")


main()
