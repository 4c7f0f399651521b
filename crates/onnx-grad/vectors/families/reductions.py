"""Reductions over axes, cumulative sums, and indices of extremes."""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto


def build(add, p):
    ints = lambda name, *values: (name, np.array(values, np.int64))
    number = lambda name, value: (name, np.float32(value))

    # Behind a trained shift and before a trained scale. `lift` makes the argument positive where that is needed.
    def reduce(name, op, function, axes, keep=1, opset=17, as_input=None, lift=0.0, noop=False, dims=(2, 3)):
        as_input = opset >= (13 if op == "ReduceSum" else 18) if as_input is None else as_input
        shape = function(np.ones((6, *dims)), axes, keep).shape[1:]
        attrs = {} if keep else {"keepdims": 0}
        attrs |= {"noop_with_empty_axes": 1} if noop else {}
        attrs |= {"axes": axes} if axes and not as_input else {}
        constants = [number("lift", lift)] + ([ints("axes", *axes)] if as_input and axes else [])
        inputs = ["h", "axes"] if len(constants) > 1 else ["h"]
        add(name, {"b": p(*dims), "w": p(*shape, 2) if not shape else p(*shape)},
            [("Add", ["x", "b"], "g", {}), ("Add", ["g", "lift"], "h", {}), (op, inputs, "r", attrs), ("Mul", ["r", "w"], "y", {})],
            lambda q, x: function(x + q["b"] + lift, axes, keep) * q["w"],
            dims=dims, opset=opset, constants=constants)

    total = lambda f: lambda h, axes, keep: f(h, axis=tuple(axes), keepdims=bool(keep))
    sum_of, mean_of = total(jnp.sum), total(jnp.mean)
    functions = {
        "ReduceSum": sum_of,
        "ReduceMean": mean_of,
        "ReduceMax": total(jnp.max),
        "ReduceMin": total(jnp.min),
        "ReduceProd": total(jnp.prod),
        "ReduceL1": lambda h, axes, keep: sum_of(jnp.abs(h), axes, keep),
        "ReduceL2": lambda h, axes, keep: jnp.sqrt(sum_of(h * h, axes, keep)),
        "ReduceSumSquare": lambda h, axes, keep: sum_of(h * h, axes, keep),
        "ReduceLogSum": lambda h, axes, keep: jnp.log(sum_of(h, axes, keep)),
        "ReduceLogSumExp": lambda h, axes, keep: jnp.log(sum_of(jnp.exp(h), axes, keep)),
    }
    for op, f in functions.items():
        name = "reduce_" + op.removeprefix("Reduce").lower()
        # A sum of which the logarithm is taken, and a norm, away from 0.
        lift = {"ReduceLogSum": 3.0, "ReduceL2": 1.0}.get(op, 0.0)
        reduce(name, op, f, [1], opset=13, lift=lift)
        reduce(f"{name}_dropped", op, f, [-1], keep=0, opset=17, lift=lift)
        reduce(f"{name}_input", op, f, [-2], opset=18, lift=lift)
        reduce(f"{name}_input_dropped", op, f, [2, 1], keep=0, opset=22, lift=lift, dims=(2, 2, 2))

    # Parameters have no batch: all their axes may go.
    for op, f in functions.items():
        short = op.removeprefix("Reduce").lower()
        for opset, keep in [(17, 0), (18, 1)]:
            add(f"parameter_{short}_{opset}", {"v": np.abs(p(2, 3)) + 0.2, "w": p(3)},
                [("Mul", ["v", "v"], "vv", {}), (op, ["vv"], "r", {"keepdims": keep}), ("Mul", ["x", "r"], "h", {}),
                 *([("Mul", ["h", "w"], "y", {})] if not keep else [("Reshape", ["h", "s"], "g", {}), ("Mul", ["g", "w"], "y", {})])],
                lambda q, x, f=f: x * f(q["v"] ** 2, (0, 1), False) * q["w"], opset=opset,
                constants=[ints("s", -1, 3)] if keep else [])

    # No axes at all: each element on its own, of which some operators still make something else.
    alone = {"ReduceL1": jnp.abs, "ReduceL2": jnp.abs, "ReduceSumSquare": jnp.square, "ReduceLogSum": jnp.log}
    for op in functions:
        reduce(f"noop_{op.removeprefix('Reduce').lower()}", op, lambda h, axes, keep, op=op: alone.get(op, jnp.asarray)(h), [],
               opset=18, noop=True, lift=3.0 if op == "ReduceLogSum" else 0.0)

    # The batch elsewhere
    for op in ["ReduceSum", "ReduceMax", "ReduceLogSumExp"]:
        f = functions[op]
        add(f"last_batch_{op.removeprefix('Reduce').lower()}", {"b": p(3, 1), "w": p(3)},
            [("Transpose", ["x"], "t", {}), ("Add", ["t", "b"], "h", {}), (op, ["h", "axes"], "r", {"keepdims": 0}),
             ("Reshape", ["r", "s"], "c", {}), ("Mul", ["c", "w"], "y", {})],
            lambda q, x, f=f: f(x.T + q["b"], [0], False).reshape(-1, 1) * q["w"], opset=18,
            constants=[ints("axes", 0), ints("s", -1, 1)])

    # Where several are the largest, where factors are 0, where a norm is
    def kink(name, op, function, at, opset=18):
        b = np.float32(at)
        add(name, {"b": b, "w": p(1)},
            [("Mul", ["x", "zero"], "xx", {}), ("Add", ["xx", "b"], "h", {}),
             (op, ["h", "axes"] if opset >= 18 else ["h"], "r", {} if opset >= 18 else {"axes": [-1]}),
             ("Mul", ["r", "w"], "y", {})],
            lambda q, x: (function(q["b"]) + 0 * x[..., :1]) * q["w"],
            dims=b.shape, opset=opset, constants=[number("zero", 0), *([ints("axes", -1)] if opset >= 18 else [])], kinks=True)
    mean_of_two = lambda b: ((b[:, 0] + b[:, 1]) / 2)[:, None]
    kink("max_tie", "ReduceMax", mean_of_two, [[2, 2, 1], [0, 0, -1]])
    kink("min_tie", "ReduceMin", mean_of_two, [[-2, -2, 1], [0, 0, 1]], opset=13)
    product = lambda b: (b[:, 0] * b[:, 1] * b[:, 2])[:, None]
    kink("prod_zeros", "ReduceProd", product, [[0, 2, 3], [0, 0, 3], [0, 0, 0]])
    kink("prod_zero", "ReduceProd", product, [[2, 0, 3]], opset=13)
    kink("l1_zero", "ReduceL1", lambda b: jnp.stack([0 * b[0, 0], b[1, 1] - b[1, 2]])[:, None], [[0, 0, 0], [0, 1, -2]])
    kink("l2_zero", "ReduceL2", lambda b: jnp.stack([0 * b[0, 0], jnp.sqrt(jnp.sum(b[1] ** 2))])[:, None],
         [[0, 0, 0], [0, 1, -2]])

    # Cumulative sums
    ahead = lambda h: jnp.cumsum(h, axis=1)
    back = lambda h: jnp.flip(jnp.cumsum(jnp.flip(h, 1), axis=1), 1)
    for name, attrs, axis, f in [
        ("cum_sum", {}, 1, ahead), ("cum_sum_reverse", {"reverse": 1}, -2, back),
        ("cum_sum_exclusive", {"exclusive": 1}, 1, lambda h: ahead(h) - h),
        ("cum_sum_exclusive_reverse", {"exclusive": 1, "reverse": 1}, 1, lambda h: back(h) - h),
    ]:
        add(name, {"b": p(3, 1), "w": p(3, 2)},
            [("Add", ["x", "b"], "h", {}), ("CumSum", ["h", "axis"], "c", attrs), ("Mul", ["c", "w"], "y", {})],
            lambda q, x, f=f: f(x + q["b"]) * q["w"], dims=(3, 2), opset=13 if attrs else 17,
            constants=[("axis", np.int64(axis))])

    # Indices, through which no gradient flows
    flip = lambda f: lambda h: h.shape[1] - 1 - f(h[:, ::-1], axis=1)
    for op, f in [("ArgMax", jnp.argmax), ("ArgMin", jnp.argmin)]:
        for name, attrs, g in [("", {"axis": 1}, lambda h, f=f: f(h, axis=1)[:, None, :]),
                               ("_dropped", {"axis": -1, "keepdims": 0}, lambda h, f=f: f(h, axis=2)),
                               ("_last", {"axis": 1, "select_last_index": 1, "keepdims": 0}, lambda h, f=f: flip(f)(h))]:
            shape = g(np.ones((6, 2, 3))).shape[1:]
            add(f"{op.lower()}{name}", {"b": p(*shape), "w": p(*shape)},
                [("Round", ["x"], "h", {}), (op, ["h"], "i", attrs), ("Cast", ["i"], "f", {"to": TensorProto.FLOAT}),
                 ("Add", ["f", "b"], "g", {}), ("Mul", ["g", "w"], "y", {})],
                lambda q, x, g=g: (g(jnp.round(x)) + q["b"]) * q["w"], dims=(2, 3), opset=13)

    # Whole numbers
    add("ints", {"b": p(1), "w": p(1)},
        [("Mul", ["x", "four"], "x4", {}), ("Cast", ["x4"], "i", {"to": TensorProto.INT64}), ("ReduceSum", ["i", "axes"], "s", {}),
         ("ReduceMax", ["i"], "m", {"axes": [1]}), ("Add", ["s", "m"], "t", {}), ("CumSum", ["t", "axis"], "c", {}),
         ("Cast", ["c"], "f", {"to": TensorProto.FLOAT}), ("Add", ["f", "b"], "g", {}), ("Mul", ["g", "w"], "y", {})],
        lambda q, x: ((jnp.trunc(4 * x).sum(1, keepdims=True) + jnp.trunc(4 * x).max(1, keepdims=True)) + q["b"]) * q["w"],
        constants=[number("four", 4), ints("axes", 1), ("axis", np.int64(1))])
