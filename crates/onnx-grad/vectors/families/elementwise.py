"""Operators on each element: functions, activations, choices, and those without a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

FLOAT = {"to": TensorProto.FLOAT}


def build(add, p):
    number = lambda name, value: (name, np.float32(value))
    ints = lambda name, *values: (name, np.array(values, np.int64))
    # Far from 0 on either side.
    far = lambda value: (np.sign(value) * (0.5 + np.abs(value))).astype(np.float32)

    # Functions behind a trained shift and before a trained scale
    def unary(name, op, function, attrs=None, opset=17, wide=2.0):
        add(name, {"b": p(3), "w": p(3)},
            [("Mul", ["x", "wide"], "xx", {}), ("Add", ["xx", "b"], "h", {}), (op, ["h"], "a", attrs or {}),
             ("Mul", ["a", "w"], "y", {})],
            lambda q, x: function(wide * x + q["b"]) * q["w"], opset=opset, constants=[number("wide", wide)])

    # The same behind x·x + 1, which is positive
    def positive(name, op, function, opset=17):
        add(name, {"b": np.abs(p(3)) + 0.5, "w": p(3)},
            [("Mul", ["x", "x"], "xx", {}), ("Add", ["xx", "b"], "h", {}), (op, ["h"], "a", {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: function(x * x + q["b"]) * q["w"], opset=opset)

    # A kink: x is multiplied by 0, so that the operator sees b. The slope there is a convention, which the twin
    # spells out, and no limit of differences.
    def kink(name, op, function, at, attrs=None, bounds=(), opset=17):
        b = np.float32(at)
        add(name, {"b": b, "w": p(len(b))},
            [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "b"], "h", {}),
             (op, ["h", *(k for k, _ in bounds)], "a", attrs or {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: function(0 * x + q["b"]) * q["w"],
            opset=opset, width=len(b), constants=[number("zero", 0), *bounds], kinks=True)

    unary("neg", "Neg", jnp.negative, opset=13)
    unary("abs", "Abs", jnp.abs)
    kink("abs_kink", "Abs", lambda h: jnp.where(h > 0, h, jnp.where(h < 0, -h, 0)), [0, 1, -1])
    unary("exp", "Exp", jnp.exp, opset=13)
    positive("log", "Log", jnp.log)
    positive("sqrt", "Sqrt", jnp.sqrt, opset=13)
    positive("reciprocal", "Reciprocal", lambda h: 1 / h)
    unary("sin", "Sin", jnp.sin, opset=22)
    unary("cos", "Cos", jnp.cos)
    unary("softplus", "Softplus", jax.nn.softplus, opset=22)
    unary("softsign", "Softsign", jax.nn.soft_sign)
    unary("elu", "Elu", jax.nn.elu, opset=22)
    elu = lambda h, a: jnp.where(h > 0, h, a * jnp.expm1(h))
    unary("elu_steep", "Elu", lambda h: elu(h, 1.5), {"alpha": 1.5}, opset=13)
    kink("elu_kink", "Elu", lambda h: elu(h, 2), [0, 1, -1], {"alpha": 2.0})
    unary("selu", "Selu", jax.nn.selu)
    unary("selu_scaled", "Selu", lambda h: 1.2 * elu(h, 0.7), {"alpha": 0.7, "gamma": 1.2}, opset=22)
    unary("celu", "Celu", jax.nn.celu)
    unary("celu_wide", "Celu", lambda h: jax.nn.celu(h, 2.0), {"alpha": 2.0}, opset=13)
    kink("celu_kink", "Celu", lambda h: jnp.where(h > 0, h, jnp.expm1(h)), [0, 1, -1])
    unary("hard_sigmoid", "HardSigmoid", lambda h: jnp.clip(0.2 * h + 0.5, 0, 1), wide=4.0)
    unary("hard_sigmoid_steep", "HardSigmoid", lambda h: jnp.clip(h / 2 + 0.6, 0, 1), {"alpha": 0.5, "beta": 0.6}, opset=22)
    kink("hard_sigmoid_kink", "HardSigmoid", lambda h: jnp.where((-1 < h) & (h < 1), h / 2 + 0.5, h > 0),
         [-1, 1, 0.5], {"alpha": 0.5, "beta": 0.5})
    unary("hard_swish", "HardSwish", lambda h: h * jnp.clip(h / 6 + 0.5, 0, 1), opset=14, wide=6.0)
    kink("hard_swish_kink", "HardSwish", lambda h: jnp.where(h <= -3, 0, jnp.where(h < 3, h * (h / 6 + 0.5), h)),
         [-3, 3, 2], opset=22)
    unary("mish", "Mish", jax.nn.mish, opset=18)
    unary("thresholded_relu", "ThresholdedRelu", lambda h: jnp.where(h > 1, h, 0))
    unary("thresholded_relu_low", "ThresholdedRelu", lambda h: jnp.where(h > -0.25, h, 0), {"alpha": -0.25}, opset=22)
    kink("thresholded_relu_kink", "ThresholdedRelu", lambda h: jnp.where(h > 0, h, 0), [0, 1, -1], {"alpha": 0.0})

    # Activations with more inputs
    for name, dims in [("p_relu", (3,)), ("p_relu_single", (1,)), ("p_relu_full", (1, 2, 3))]:
        add(name, {"b": p(3), "s": p(*dims), "w": p(3)},
            [("Add", ["x", "b"], "h", {}), ("PRelu", ["h", "s"], "a", {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: jnp.where(x + q["b"] > 0, x + q["b"], q["s"] * (x + q["b"])) * q["w"],
            dims=(2, 3) if len(dims) == 3 else None)
    add("p_relu_kink", {"b": np.float32([0, 1, -1]), "s": p(3)},
        [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "b"], "h", {}), ("PRelu", ["h", "s"], "y", {})],
        lambda q, x: jnp.where(0 * x + q["b"] > 0, q["b"], q["s"] * q["b"]), constants=[number("zero", 0)], kinks=True, opset=13)

    # Powers
    def power(name, exponent, known, base="Abs", constant=None):
        f = jnp.abs if base == "Abs" else (lambda h: h)
        add(name, {"b": far(p(3)), "w": p(3)},
            [("Mul", ["x", "tenth"], "xx", {}), ("Add", ["xx", "b"], "h", {}), (base, ["h"], "g", {}),
             ("Pow", ["g", "c"], "a", {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: f(0.1 * x + q["b"]) ** exponent * q["w"], constants=[number("tenth", 0.1), ("c", known)])
    power("pow_square", 2.0, np.float32(2), "Identity")
    power("pow_square_int", 2, np.int64(2), "Identity")
    power("pow_cube", 3.0, np.float32(3), "Identity")
    power("pow_root", 0.5, np.float32(0.5))
    power("pow_inverse", -1.0, np.float32(-1), "Identity")
    power("pow_other", 1.7, np.float32(1.7))
    power("pow_one", 1.0, np.float32(1), "Identity")
    power("pow_ints", np.array([0, 2, -1]), np.array([0, 2, -1], np.int64), "Identity")
    add("pow_both", {"b": np.abs(p(3)) + 1.5, "e": p(2, 1), "w": p(3)},
        [("Add", ["x", "b"], "h", {}), ("Pow", ["h", "e"], "a", {}), ("Mul", ["a", "w"], "y", {})],
        lambda q, x: (x + q["b"]) ** q["e"] * q["w"], dims=(2, 3), opset=13)
    add("pow_of_constant", {"e": p(3)},
        [("Add", ["x", "e"], "h", {}), ("Pow", ["two", "h"], "y", {})],
        lambda q, x: 2 ** (x + q["e"]), constants=[number("two", 2)])
    # The power of 0 has no slope in the exponent, and none in the base where the exponent is 0.
    add("pow_kink", {"b": np.float32([0, 0, 2, 0]), "e": np.float32([1, 2, 0, 0])},
        [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "b"], "h", {}), ("Pow", ["h", "e"], "y", {})],
        lambda q, x: 0 * x + jnp.stack([q["b"][0], q["b"][1] ** 2, 2 ** q["e"][2], 1 + 0 * q["b"][3]]),
        width=4, constants=[number("zero", 0)], kinks=True)
    # A single exponent that is trained is no constant.
    add("pow_trained", {"b": np.abs(p(3)) + 1.5, "e": np.float32([2])},
        [("Add", ["x", "b"], "h", {}), ("Pow", ["h", "e"], "y", {})], lambda q, x: (x + q["b"]) ** q["e"])

    # The largest and smallest
    for op, f in [("Max", jnp.maximum), ("Min", jnp.minimum)]:
        name = op.lower()
        add(f"{name}_two", {"b": p(3), "v": 0.5 * p(2, 1), "w": p(3)},
            [("Add", ["x", "b"], "h", {}), (op, ["h", "v"], "m", {}), ("Mul", ["m", "w"], "y", {})],
            lambda q, x, f=f: f(x + q["b"], q["v"]) * q["w"], dims=(2, 3), opset=13)
        add(f"{name}_parameter_only", {"v": 0.5 * p(1, 3), "w": p(3)},
            [(op, ["v", "x"], "m", {}), (op, ["m"], "n", {}), (op, ["quarter", "n"], "o", {}), ("Mul", ["o", "w"], "y", {})],
            lambda q, x, f=f: f(0.25, f(q["v"], x)) * q["w"], constants=[number("quarter", 0.25)])
        add(f"{name}_three", {"u": 0.5 * p(3), "v": 0.5 * p(1), "w": p(3)},
            [("Neg", ["x"], "z", {}), (op, ["z", "u", "v"], "m", {}), ("Mul", ["m", "w"], "y", {})],
            lambda q, x, f=f: f(f(-x, q["u"]), q["v"]) * q["w"])
        # A tie is shared: half, or a third.
        lead = 1 if op == "Max" else -1
        add(f"{name}_tie", {"u": np.float32([0, lead, -lead]), "v": np.float32([0, 0, 0]), "w": p(3)},
            [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "u"], "h", {}), (op, ["h", "v"], "m", {}), ("Mul", ["m", "w"], "y", {})],
            lambda q, x: (0 * x + jnp.stack([(q["u"][0] + q["v"][0]) / 2, q["u"][1], q["v"][2]])) * q["w"],
            constants=[number("zero", 0)], kinks=True)
        add(f"{name}_tie_of_three", {"t": np.float32([0, 0]), "u": np.float32([0, lead]), "v": np.float32([0, lead])},
            [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "u"], "h", {}), (op, ["h", "v", "t"], "y", {})],
            lambda q, x: 0 * x + jnp.stack([(q["t"][0] + q["u"][0] + q["v"][0]) / 3, (q["u"][1] + q["v"][1]) / 2]),
            width=2, constants=[number("zero", 0)], kinks=True)

    # Bounds
    for name, inputs, low, high, opset in [("clip", ["lo", "hi"], -0.3, 0.4, 13), ("clip_low", ["lo"], -0.3, None, 17),
                                           ("clip_high", ["", "hi"], None, 0.4, 22), ("clip_open", [], None, None, 13)]:
        add(name, {"b": p(3), "w": p(3)},
            [("Add", ["x", "b"], "h", {}), ("Clip", ["h", *inputs], "c", {}), ("Mul", ["c", "w"], "y", {})],
            lambda q, x, low=low, high=high: jnp.clip(x + q["b"], low, high) * q["w"], opset=opset,
            constants=[(k, np.float32(v)) for k, v in [("lo", low), ("hi", high)] if v is not None])
    kink("clip_kink", "Clip", lambda h: jnp.where((0 < h) & (h < 1), h, h > 0), [0, 1, 0.5],
         bounds=[number("lo", 0), number("hi", 1)])

    # Choices by masks
    add("where", {"b": p(3), "v": p(2, 1), "w": p(3)},
        [("Greater", ["x", "zero"], "m", {}), ("Add", ["x", "b"], "h", {}), ("Where", ["m", "h", "v"], "a", {}),
         ("Mul", ["a", "w"], "y", {})],
        lambda q, x: jnp.where(x > 0, x + q["b"], q["v"]) * q["w"], dims=(2, 3), constants=[number("zero", 0)])
    add("where_row", {"u": p(3), "v": p(1, 3), "w": p(3)},
        [("Where", ["m", "u", "x"], "a", {}), ("Where", ["n", "a", "v"], "g", {}), ("Mul", ["g", "w"], "y", {})],
        lambda q, x: jnp.where(jnp.array([True, True, False]), jnp.where(jnp.array([True, False, False]), q["u"], x), q["v"]) * q["w"],
        opset=13, constants=[("m", np.array([True, False, False])), ("n", np.array([[True, True, False]]))])

    # Sums and means of several
    for op, scale in [("Sum", 1), ("Mean", 1 / 3)]:
        add(op.lower(), {"b": p(3), "v": p(2, 1), "w": p(3)},
            [("Mul", ["x", "w"], "h", {}), (op, ["h", "b", "v"], "s", {}), (op, ["s"], "t", {}), ("Mul", ["t", "w"], "y", {})],
            lambda q, x, scale=scale: (x * q["w"] + q["b"] + q["v"]) * scale * q["w"], dims=(2, 3), opset=13)

    # Without a gradient: what they make is added to something trained, and no gradient goes round them
    def stepped(name, nodes, function, constants=(), opset=17):
        add(name, {"b": p(3), "w": p(3)},
            [("Mul", ["x", "four"], "x4", {}), *nodes, ("Add", ["s", "b"], "a", {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: (function(4 * x) + q["b"]) * q["w"], opset=opset, constants=[number("four", 4), *constants])
    for op, f in [("Floor", jnp.floor), ("Ceil", jnp.ceil), ("Round", jnp.round), ("Sign", jnp.sign)]:
        stepped(op.lower(), [(op, ["x4"], "s", {})], f)
    half = [number("half", 0.5)]
    compare = {"Greater": jnp.greater, "GreaterOrEqual": jnp.greater_equal, "Less": jnp.less,
               "LessOrEqual": jnp.less_equal, "Equal": jnp.equal}
    for op, f in compare.items():
        stepped(op.lower(), [("Round", ["x4"], "r", {}), (op, ["r", "one"], "m", {}), ("Cast", ["m"], "s", FLOAT)],
                lambda h, f=f: f(jnp.round(h), 1).astype(float), [number("one", 1)], opset=13 if op == "Less" else 19)
    sides = [("Greater", ["x4", "half"], "m", {}), ("Less", ["x4", "two"], "n", {})]
    for op, f in [("And", jnp.logical_and), ("Or", jnp.logical_or), ("Xor", jnp.logical_xor), ("Equal", jnp.equal)]:
        stepped(op.lower() + "_masks", [*sides, (op, ["m", "n"], "o", {}), ("Cast", ["o"], "s", FLOAT)],
                lambda h, f=f: f(h > 0.5, h < 2).astype(float), [*half, number("two", 2)])
    stepped("not", [("Greater", ["x4", "half"], "m", {}), ("Not", ["m"], "n", {}), ("Cast", ["n"], "s", FLOAT)],
            lambda h: (h <= 0.5).astype(float), half)
    stepped("is_nan", [("Sqrt", ["x4"], "r", {}), ("IsNaN", ["r"], "m", {}), ("Where", ["m", "half", "x4"], "s", {})],
            lambda h: jnp.where(h < 0, 0.5, h), half, opset=13)
    stepped("is_inf", [("Relu", ["x4"], "r", {}), ("Log", ["r"], "l", {}), ("IsInf", ["l"], "m", {}), ("Where", ["m", "half", "x4"], "s", {})],
            lambda h: jnp.where(h < 0, 0.5, h), half, opset=13)

    # Remainders
    add("mod", {"b": p(3), "v": far(p(2, 1)), "w": p(3)},
        [("Mul", ["x", "four"], "x4", {}), ("Add", ["x4", "b"], "h", {}), ("Mod", ["h", "v"], "m", {"fmod": 1}),
         ("Mul", ["m", "w"], "y", {})],
        lambda q, x: jnp.fmod(4 * x + q["b"], q["v"]) * q["w"], dims=(2, 3), constants=[number("four", 4)])
    stepped("mod_ints", [("Cast", ["x4"], "i", {"to": TensorProto.INT64}), ("Mod", ["i", "three"], "m", {}), ("Cast", ["m"], "s", FLOAT)],
            lambda h: jnp.mod(jnp.trunc(h), 3), [("three", np.int64(3))])
    # Whole numbers pass
    stepped("ints", [("Cast", ["x4"], "i", {"to": TensorProto.INT64}), ("Abs", ["i"], "a1", {}), ("Neg", ["a1"], "a2", {}),
                     ("Sign", ["a2"], "a3", {}), ("Max", ["i", "a3", "a2"], "a4", {}), ("Min", ["a4", "two"], "a5", {}),
                     ("Clip", ["a5", "lo"], "a6", {}), ("Pow", ["a6", "two"], "a7", {}), ("Cast", ["a7"], "s", FLOAT)],
            lambda h: jnp.maximum(jnp.minimum(jnp.maximum(jnp.trunc(h), jnp.sign(-jnp.abs(jnp.trunc(h)))), 2), -1) ** 2,
            [("two", np.int64(2)), ("lo", np.int64(-1))])

    # Shapes that exporters compute: here of [N, 6], told by arithmetic on known numbers
    add("known_shape", {"w": p(2, 3), "b": p(6)},
        [("Neg", ["one"], "any", {}), ("Equal", ["sizes", "any"], "m", {}), ("Not", ["m"], "n", {}), ("And", ["n", "n"], "o", {}),
         ("Where", ["o", "sizes", "deep"], "s1", {}), ("Mod", ["s1", "ten"], "s2", {}), ("Max", ["s2", "two"], "s3", {}),
         ("Min", ["s3", "three"], "s4", {}), ("Less", ["s4", "three"], "l", {}), ("Where", ["l", "rows", "s4"], "s5", {}),
         ("Add", ["x", "b"], "h", {}), ("Reshape", ["h", "s5"], "r", {}), ("Mul", ["r", "w"], "g", {}), ("Reshape", ["g", "flat"], "y", {})],
        lambda q, x: ((x + q["b"]).reshape(-1, 2, 3) * q["w"]).reshape(-1, 6), width=6,
        constants=[ints("one", 1), ints("sizes", -1, 2, 13), ints("deep", 11), ints("ten", 10), ints("two", 2), ints("three", 3),
                   ints("rows", -1, 2, 0), ints("flat", -1, 6)])
