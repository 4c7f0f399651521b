#!/usr/bin/env python3
"""Writes the untrained models of the jobs in config/jobs: multi-layer perceptrons with one logit.

Any framework's export would do; this one uses only the `onnx` and `numpy` packages, so that the
files can be made again bit for bit:  python3 make_models.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# Name of the model: encoded features, hidden units, seed.
MODELS = {
    # SO2, NO2, CO, TEMP, PRES, DEWP, RAIN, WSPM, and sine and cosine of wind_dir16, hour and month.
    "air-mlp": (14, 16, 20130301),
    # age, sex, four of cp, trestbps, chol, fbs, three of restecg, thalach, exang, oldpeak.
    "heart-mlp": (15, 8, 19880701),
}


def glorot(rng, outputs, inputs):
    """Uniform initialisation, Glorot and Bengio (2010), equation 16."""
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, (outputs, inputs)).astype(np.float32)


def perceptron(name, features, hidden, seed):
    rng = np.random.default_rng(seed)
    weights = {
        "fc1.weight": glorot(rng, hidden, features),
        "fc1.bias": np.zeros(hidden, np.float32),
        "fc2.weight": glorot(rng, 1, hidden),
        "fc2.bias": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["input", "fc1.weight", "fc1.bias"], ["fc1"], "/fc1/Gemm", transB=1),
        helper.make_node("Relu", ["fc1"], ["relu"], "/relu/Relu"),
        helper.make_node("Gemm", ["relu", "fc2.weight", "fc2.bias"], ["logits"], "/fc2/Gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, tensor) for tensor, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="make_models", ir_version=8)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, (features, hidden, seed) in MODELS.items():
        model = perceptron(name, features, hidden, seed)
        onnx.checker.check_model(model, full_check=True)
        output = folder / f"{name}.onnx"
        onnx.save(model, output)
        print(f"{output}: {output.stat().st_size} bytes")


main()
