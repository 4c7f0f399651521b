"""How a job takes a model: another output than the first, and parameters that stay as they are."""

import jax.numpy as jnp
import numpy as np


def build(add, p):
    two = [("Gemm", ["x", "w", "b"], "h", {}), ("Tanh", ["h"], "t", {}), ("Gemm", ["t", "v"], "y", {}),
           ("Gemm", ["t", "u"], "first", {})]
    params = lambda: {"w": p(3, 4), "b": p(4), "v": p(4, 2), "u": p(4, 1)}
    function = lambda q, x: jnp.tanh(x @ q["w"] + q["b"]) @ q["v"]
    # What reaches only the other output is no parameter then.
    add("output_second", params(), two, function, outputs={"first": (1,)}, options={"output": "y"})
    one = two[:3]
    less = lambda: {k: v for k, v in params().items() if k != "u"}
    add("frozen_first", less(), one, function, options={"frozen": ["w", "b"]})
    add("frozen_last", less(), one, function, options={"frozen": ["v"]})

    # Frozen statistics are what is normalised by; behind them the gradient goes on.
    positive = lambda: (np.abs(p(4)) + 0.5).astype(np.float32)
    batch = lambda: {"w": p(3, 4), "scale": p(4), "bias": p(4), "mean": p(4), "variance": positive(), "v": p(4, 2)}
    nodes = [("MatMul", ["x", "w"], "h", {}),
             ("BatchNormalization", ["h", "scale", "bias", "mean", "variance"], "n", {}),
             ("MatMul", ["n", "v"], "y", {})]

    def settled(q, x):
        centred = (x @ q["w"] - q["mean"]) / jnp.sqrt(q["variance"] + 1e-5)
        return (centred * q["scale"] + q["bias"]) @ q["v"]

    statistics = ["mean", "variance"]
    add("frozen_statistics", batch(), nodes, settled, options={"frozen": statistics})
    # The reference evaluator takes the batch's statistics before operator set 14.
    add("frozen_normalization", batch(), nodes, settled, opset=13,
        reference=False, options={"frozen": ["scale", "bias", *statistics]})
