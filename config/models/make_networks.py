#!/usr/bin/env python3
"""Writes the untrained networks of the jobs in config/jobs that look at images or stretches of time.

Any framework's export would do; this one uses only the `onnx` and `numpy` packages, so that the
files can be made again bit for bit:  python3 make_networks.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Network:
    """A graph that grows layer by layer; weights are drawn in the order of the layers."""

    def __init__(self, name, seed, inputs, dims):
        self.name, self.rng, self.last = name, np.random.default_rng(seed), inputs
        self.input = helper.make_tensor_value_info(inputs, TensorProto.FLOAT, ["batch", *dims])
        self.nodes, self.weights, self.constants = [], {}, {}

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, [self.last, *inputs], [output], f"/{output}", **attributes))
        self.last = output
        return self

    def weight(self, name, shape):
        """Uniform initialisation, Glorot and Bengio (2010), equation 16."""
        field = int(np.prod(shape[2:]))
        limit = np.sqrt(6.0 / ((shape[0] + shape[1]) * field))
        self.weights[name] = self.rng.uniform(-limit, limit, shape).astype(np.float32)
        return name

    def bias(self, name, *shape):
        self.weights[name] = np.zeros(shape, np.float32)
        return name

    def constant(self, name, values, kind):
        self.constants[name] = np.array(values, kind)
        return name

    def dense(self, name, inputs, outputs):
        parameters = [self.weight(f"{name}.weight", (outputs, inputs)), self.bias(f"{name}.bias", outputs)]
        return self.node("Gemm", parameters, name, transB=1)

    def conv(self, name, inputs, outputs, kernel, pad=0):
        parameters = [self.weight(f"{name}.weight", (outputs, inputs, *kernel)), self.bias(f"{name}.bias", outputs)]
        pads = [pad] * (2 * len(kernel))
        return self.node("Conv", parameters, name, kernel_shape=kernel, pads=pads)

    def model(self, outputs):
        self.nodes[-1].output[0] = "logits"
        tensors = {**self.weights, **self.constants}
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [self.input],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, producer_name="make_networks", ir_version=8)


def lenet5():
    """LeNet-5 (LeCun et al. 1998) for 28 x 28, to which it scales images of 8 x 8 itself; ten classes."""
    net = Network("lenet5", 19981101, "image", [1, 8, 8])
    scales = net.constant("scales", [1, 1, 3.5, 3.5], np.float32)
    half_pixel = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    net.node("Resize", ["", scales], "resize", **half_pixel)
    net.conv("conv1", 1, 6, [5, 5], pad=2).node("Tanh", [], "tanh1")
    net.node("AveragePool", [], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("conv2", 6, 16, [5, 5]).node("Tanh", [], "tanh2")
    net.node("AveragePool", [], "pool2", kernel_shape=[2, 2], strides=[2, 2]).node("Flatten", [], "flat")
    net.dense("fc1", 400, 120).node("Tanh", [], "tanh3")
    net.dense("fc2", 120, 84).node("Tanh", [], "tanh4")
    return net.dense("fc3", 84, 10).model(10)


def cnn1d():
    """Two convolutions over the 24 hours of 14 columns, channels first; one logit."""
    net = Network("air-cnn", 20130302, "window", [14, 24])
    for layer, inputs in (("1", 14), ("2", 32)):
        net.conv(f"conv{layer}", inputs, 32, [5]).node("Relu", [], f"relu{layer}")
        net.node("MaxPool", [], f"pool{layer}", kernel_shape=[2], strides=[2])
    net.node("Flatten", [], "flat").dense("fc1", 96, 32).node("Relu", [], "relu3")
    return net.dense("fc2", 32, 1).model(1)


def gru():
    """A gated recurrent unit of 32 over the 24 hours of 14 columns, time first; one logit of its last state."""
    hidden, columns = 32, 14
    net = Network("air-gru", 20130303, "window", [24, columns])
    net.node("Transpose", [], "time_major", perm=[1, 0, 2])
    parameters = [net.weight("gru.input", (1, 3 * hidden, columns)), net.weight("gru.state", (1, 3 * hidden, hidden))]
    parameters.append(net.bias("gru.bias", 1, 6 * hidden))
    net.node("GRU", parameters, "states", hidden_size=hidden, linear_before_reset=1)
    net.nodes[-1].output[:] = ["", "last"]
    net.last = "last"
    net.node("Squeeze", [net.constant("direction", [0], np.int64)], "state")
    return net.dense("fc", hidden, 1).model(1)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for model in (lenet5(), cnn1d(), gru()):
        onnx.checker.check_model(model, full_check=True)
        output = folder / f"{model.graph.name}.onnx"
        onnx.save(model, output)
        print(f"{output}: {output.stat().st_size} bytes")


main()
