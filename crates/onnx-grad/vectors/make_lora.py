#!/usr/bin/env python3
"""Makes lora/: a model whose weights get adapters, and what PyTorch says in float64 of the adapted function.

PyTorch is given the merged weights, W + (alpha / rank) A B, of which it differentiates A and B by itself.

    pip install onnx numpy torch && python3 make_lora.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent / "lora"
ROWS, RANK, ALPHA = 5, 2, 3.0


def numbers(value):
    return [float(f"{number:.9g}") for number in np.asarray(value, np.float64).ravel()]


def main():
    rng = np.random.default_rng(7)
    draw = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32)
    weights = {"w1": draw(3, 5), "w2": draw(6, 20), "b2": draw(6), "w3": draw(6, 4)}
    # A MatMul over three dimensions, a Gemm as PyTorch writes it, and one with the weight as it is.
    nodes = [helper.make_node(*own, **attributes) for own, attributes in [
        (("MatMul", ["x", "w1"], ["h"], "n0"), {}), (("Tanh", ["h"], ["t"], "n1"), {}),
        (("Flatten", ["t"], ["f"], "n2"), {}),
        (("Gemm", ["f", "w2", "b2"], ["z"], "n3"), {"transB": 1, "alpha": 0.5}), (("Tanh", ["z"], ["s"], "n4"), {}),
        (("Gemm", ["s", "w3"], ["y"], "n5"), {})]]
    info = lambda name, *dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])
    graph = helper.make_graph(nodes, "lora", [info("x", 4, 3)], [info("y", 4)],
                              [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    HERE.mkdir(exist_ok=True)
    onnx.save(model, HERE / "model.onnx")

    adapters = {"w1.lora_A": draw(3, RANK), "w1.lora_B": draw(RANK, 5), "w2.lora_A": draw(20, RANK),
                "w2.lora_B": draw(RANK, 6), "w3.lora_A": draw(6, RANK), "w3.lora_B": draw(RANK, 4)}
    x, targets = draw(ROWS, 4, 3), rng.integers(0, 4, ROWS)
    wide = lambda value: torch.tensor(value, dtype=torch.float64)
    own = {name: wide(value).requires_grad_() for name, value in adapters.items()}
    change = lambda name: ALPHA / RANK * own[f"{name}.lora_A"] @ own[f"{name}.lora_B"]
    w1, w2, w3 = (wide(weights[name]) for name in ["w1", "w2", "w3"])
    t = torch.tanh(wide(x) @ (w1 + change("w1"))).flatten(1)
    s = torch.tanh(0.5 * t @ (w2 + change("w2").T).T + wide(weights["b2"]))
    y = s @ (w3 + change("w3"))
    loss = torch.nn.functional.cross_entropy(y, torch.tensor(targets))
    loss.backward()
    golden = {
        "rows": ROWS, "rank": RANK, "alpha": ALPHA, "inputs": numbers(x), "targets": targets.tolist(),
        "outputs": numbers(y.detach()), "expected_loss": float(loss.detach()),
        "adapters": {name: numbers(value) for name, value in adapters.items()},
        "gradients": {name: numbers(value.grad) for name, value in own.items()},
    }
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
