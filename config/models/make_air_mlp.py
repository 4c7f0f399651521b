#!/usr/bin/env python3
"""Writes air-mlp.onnx: the untrained model of the demo, 14 features -> 16 hidden units -> 1 logit.

Any framework's export would do; this one uses only the `onnx` and `numpy` packages, so that the
file can be made again bit for bit:  python3 make_air_mlp.py [OUTPUT]
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20130301
OPSET = 17
# SO2, NO2, CO, TEMP, PRES, DEWP, RAIN, WSPM, and sine and cosine of wind_dir16, hour and month.
FEATURES = 14
HIDDEN = 16


def glorot(rng, outputs, inputs):
    """Uniform initialisation, Glorot and Bengio (2010), equation 16."""
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, (outputs, inputs)).astype(np.float32)


def main():
    rng = np.random.default_rng(SEED)
    weights = {
        "fc1.weight": glorot(rng, HIDDEN, FEATURES),
        "fc1.bias": np.zeros(HIDDEN, np.float32),
        "fc2.weight": glorot(rng, 1, HIDDEN),
        "fc2.bias": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["input", "fc1.weight", "fc1.bias"], ["fc1"], "/fc1/Gemm", transB=1),
        helper.make_node("Relu", ["fc1"], ["relu"], "/relu/Relu"),
        helper.make_node("Gemm", ["relu", "fc2.weight", "fc2.bias"], ["logits"], "/fc2/Gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "air-mlp",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="make_air_mlp", ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("air-mlp.onnx")
    onnx.save(model, output)
    print(f"{output}: {output.stat().st_size} bytes")


main()
