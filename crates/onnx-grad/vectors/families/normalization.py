"""Normalisation, in training over the batch or over each example; and Dropout."""

import jax.numpy as jnp
import numpy as np
from onnx import TensorProto


def normalize(h, axes, epsilon=1e-5):
    return (h - h.mean(axes, keepdims=True)) / jnp.sqrt(h.var(axes, keepdims=True) + epsilon)


def groups(h, count, epsilon=1e-5):
    n, c, *rest = h.shape
    return normalize(h.reshape(n, count, -1), -1, epsilon).reshape(n, c, *rest)


def build(add, p):
    positive = lambda *shape: np.abs(p(*shape)) + np.float32(0.5)

    def batch(name, dims, attrs=None, outputs=("c",), epsilon=1e-5, momentum=0.9, opset=17):
        """x scaled by a parameter of its own shape, the operator, and a scale for each element behind it."""
        c, axes = dims[0], (0, *range(2, 1 + len(dims)))
        column = (c, *[1] * (len(dims) - 1))
        own = lambda q, h: q["g"].reshape(column) * h + q["b"].reshape(column)
        known = lambda q, x: own(q, (x * q["s"] - q["m"].reshape(column)) / jnp.sqrt(q["r"].reshape(column) + epsilon))
        of_batch = lambda q, x: own(q, normalize(x * q["s"] + 1, axes, epsilon))
        one = [("one", np.float32(1))]
        add(name, {"s": p(*dims), "g": p(c), "b": p(c), "m": p(c), "r": positive(c), "v": p(*dims)},
            [("Mul", ["x", "s"], "t", {}), ("Add", ["t", "one"], "h", {}),
             ("BatchNormalization", ["h", "g", "b", "m", "r"], list(outputs), attrs or {}),
             ("Mul", ["c", "v"], "y", {})],
            lambda q, x: known({**q, "m": q["m"] - 1}, x) * q["v"],
            training=lambda q, x: of_batch(q, x) * q["v"],
            statistics={"m": lambda q, x: q["m"] * momentum + (x * q["s"] + 1).mean(axes) * (1 - momentum),
                        "r": lambda q, x: q["r"] * momentum + (x * q["s"]).var(axes) * (1 - momentum)},
            dims=dims, opset=opset, constants=one,
            # In training mode, and before opset 14 wherever there is a momentum, the evaluator trains.
            reference="training_mode" not in (attrs or {}) and opset >= 14)

    batch("batch", (2, 3, 2))
    batch("batch_rows", (3,), {"epsilon": 0.1, "momentum": 0.7}, epsilon=0.1, momentum=0.7, opset=22)
    batch("batch_line", (2, 4), opset=14)
    batch("batch_without_kernel", (2, 2, 3), {"epsilon": 0.01, "momentum": 0.5}, epsilon=0.01, momentum=0.5, opset=13)
    batch("batch_exported_in_training", (2, 3), {"training_mode": 1, "momentum": 0.6}, outputs=("c", "m_after", "r_after"),
          momentum=0.6)
    # The same statistics twice, moved on from where the first node left them.
    first = lambda q, x: q["g"] * normalize(x @ q["w"], 0) + q["b"]
    known = lambda q, h: q["g"] * (h - q["m"]) / jnp.sqrt(q["r"] + 1e-5) + q["b"]
    add("batch_shared", {"w": p(3, 2), "g": p(2), "b": p(2), "m": p(2), "r": positive(2)},
        [("Gemm", ["x", "w"], "h", {}), ("BatchNormalization", ["h", "g", "b", "m", "r"], "c", {"momentum": 0.8}),
         ("BatchNormalization", ["c", "g", "b", "m", "r"], "y", {"momentum": 0.8})],
        lambda q, x: known(q, known(q, x @ q["w"])),
        training=lambda q, x: q["g"] * normalize(first(q, x), 0) + q["b"],
        statistics={"m": lambda q, x: q["m"] * 0.64 + (x @ q["w"]).mean(0) * 0.16 + first(q, x).mean(0) * 0.2,
                    "r": lambda q, x: q["r"] * 0.64 + (x @ q["w"]).var(0) * 0.16 + first(q, x).var(0) * 0.2})

    def each(name, op, dims, scale, twin, attrs=None, bias=True, opset=17, outputs="c", reference=True):
        params = {"s": p(*dims), "g": p(*scale)} | ({"b": p(*scale)} if bias else {}) | {"v": p(*dims)}
        inputs = ["h", "g", "b"] if bias else ["h", "g"]
        add(name, params, [("Mul", ["x", "s"], "h", {}), (op, inputs, outputs, attrs or {}), ("Mul", ["c", "v"], "y", {})],
            lambda q, x: twin(x * q["s"], q["g"], q["b"] if bias else 0) * q["v"], dims=dims, opset=opset,
            reference=reference)

    each("layer", "LayerNormalization", (2, 4), (4,), lambda h, g, b: normalize(h, -1) * g + b)
    each("layer_axis", "LayerNormalization", (2, 3, 2), (3, 2), lambda h, g, b: normalize(h, (2, 3), 0.1) * g + b,
         {"axis": 2, "epsilon": 0.1}, opset=22)
    each("layer_all_axes", "LayerNormalization", (2, 3), (2, 3), lambda h, g, b: normalize(h, (1, 2)) * g + b, {"axis": -2})
    each("layer_without_bias", "LayerNormalization", (4,), (4,), lambda h, g, b: normalize(h, -1) * g, bias=False)
    each("layer_with_statistics", "LayerNormalization", (4,), (4,), lambda h, g, b: normalize(h, -1) * g + b,
         outputs=["c", "", "inverse"])
    add("layer_batch_second", {"s": p(2, 3), "g": p(3), "b": p(3)},
        [("Mul", ["x", "s"], "h", {}), ("Transpose", ["h"], "t", {"perm": [1, 0, 2]}),
         ("LayerNormalization", ["t", "g", "b"], "c", {}), ("Transpose", ["c"], "y", {"perm": [1, 0, 2]})],
        lambda q, x: normalize(x * q["s"], -1) * q["g"] + q["b"], dims=(2, 3))

    by_channel = lambda g, h: g.reshape(-1, *[1] * (h.ndim - 2))
    affine = lambda norm: lambda h, g, b: norm(h) * by_channel(g, h) + by_channel(b, h)
    each("instance", "InstanceNormalization", (2, 2, 3), (2,), affine(lambda h: normalize(h, (2, 3))))
    each("instance_line", "InstanceNormalization", (2, 4), (2,), affine(lambda h: normalize(h, 2, 0.1)), {"epsilon": 0.1},
         opset=22)
    each("instance_without_kernel", "InstanceNormalization", (2, 4), (2,), affine(lambda h: normalize(h, 2, 0.1)),
         {"epsilon": 0.1}, opset=13)
    each("group", "GroupNormalization", (4, 3), (4,), affine(lambda h: groups(h, 2)), {"num_groups": 2}, opset=21)
    each("group_epsilon", "GroupNormalization", (3, 2, 2), (3,), affine(lambda h: groups(h, 1, 0.1)),
         {"num_groups": 1, "epsilon": 0.1}, opset=22)
    # ONNX has since deprecated this form, which ONNX Runtime runs, and so its checker refuses it.
    each("group_scaled_by_group", "GroupNormalization", (4, 2, 2), (2,),
         lambda h, g, b: groups(h, 2) * by_channel(jnp.repeat(g, 2), h) + by_channel(jnp.repeat(b, 2), h),
         {"num_groups": 2}, opset=18, reference=False)

    def dropout(name, inputs, constants=(), dims=(4,), **more):
        add(name, {"s": p(*dims), "v": p(*dims)},
            [("Add", ["x", "s"], "h", {}), ("Dropout", ["h", *inputs], "d", {}), ("Mul", ["d", "v"], "y", {})],
            lambda q, x: (x + q["s"]) * q["v"], dims=dims, constants=constants, **more)
    ratio = lambda value: ("ratio", np.float32(value))
    on = ("on", np.bool_(True))
    dropout("dropout", ["ratio"], [ratio(0.3)], random=True)
    dropout("dropout_default", [], random=True, opset=13, dims=(2, 3))
    # The mask is read, so that ONNX Runtime does not take the node away; in evaluation it is 1 everywhere.
    add("dropout_exported_in_training", {"s": p(4), "v": p(4)},
        [("Add", ["x", "s"], "h", {}), ("Dropout", ["h", "ratio", "on"], ["d", "kept"], {}), ("Mul", ["d", "v"], "m", {}),
         ("Cast", ["kept"], "one", {"to": TensorProto.FLOAT}), ("Add", ["m", "one"], "y", {})],
        lambda q, x: (x + q["s"]) * q["v"] + 1, constants=[ratio(0.4), on], random=True, reference=False,
        dims=(4,))
    dropout("dropout_nothing", ["ratio", "on"], [ratio(0), on], opset=22)
    # The batch in another place
    add("dropout_batch_second", {"s": p(3, 1), "v": p(3)},
        [("Transpose", ["x"], "t", {}), ("Add", ["t", "s"], "h", {}), ("Dropout", ["h", "ratio"], "d", {}),
         ("Transpose", ["d"], "b", {}), ("Mul", ["b", "v"], "y", {})],
        lambda q, x: (x + q["s"].T) * q["v"], constants=[ratio(0.25)], random=True)
