"""Operators that move, cut, join and repeat, and the shape arithmetic that exporters write around them."""

import jax.numpy as jnp
import numpy as np
from onnx import TensorProto, helper


def ints(name, *values):
    return name, np.array(values, np.int64)


def tensor(kind, value):
    return helper.make_tensor("value", kind, [1], [value])


def build(add, p):
    # x is trained before and after each operator: h = x·w, and the result times v.
    def moved(name, nodes, function, dims, before, after, **kwargs):
        head = [("Mul", ["x", "w"], "h", {})]
        tail = [("Mul", ["o", "v"], "y", {})]
        add(name, {"w": p(*before), "v": p(*after)}, head + nodes + tail,
            lambda q, x: function(x * q["w"]) * q["v"], dims=dims, **kwargs)

    moves(moved, add, p)
    joins(moved, add, p)
    slices(moved)
    repeats(moved, add, p)
    pads(moved)
    blocks_and_triangles(moved, add, p)
    chains(add, p)


def moves(moved, add, p):
    moved("squeeze", [("Squeeze", ["h", "a"], "o", {})], lambda h: h[:, 0, :, 0], (1, 3, 1), (3, 1), (3,),
          constants=[ints("a", 1, -1)], opset=13)
    moved("squeeze_all", [("Squeeze", ["h"], "o", {})], lambda h: h[:, 0], (1, 3), (3,), (3,))
    moved("unsqueeze", [("Unsqueeze", ["h", "a"], "o", {})], lambda h: h[:, None, :, None], (3,), (3,), (1, 1, 2),
          constants=[ints("a", -1, 1)], opset=13)
    add("cast_like", {"w": p(3), "v": p(3)},
        [("Mul", ["x", "w"], "h", {}), ("Cast", ["half"], "d", {"to": TensorProto.DOUBLE}),
         ("CastLike", ["h", "d"], "wide", {}), ("CastLike", ["wide", "half"], "n", {}), ("Mul", ["n", "v"], "y", {})],
        lambda q, x: x * q["w"] * q["v"], constants=[("half", np.float32(0.5))])


def joins(moved, add, p):
    add("concat", {"w": p(3), "v": p(2, 3), "u": p(7)},
        [("Mul", ["x", "w"], "h", {}), ("Gemm", ["x", "v"], "g", {"transB": 1}),
         ("Concat", ["h", "x", "g"], "j", {"axis": -1}), ("Slice", ["j", "s", "e", "a"], "k", {}),
         ("Mul", ["k", "u"], "y", {})],
        lambda q, x: jnp.concatenate([x * q["w"], x, x @ q["v"].T], 1)[:, :7] * q["u"],
        constants=[ints("s", 0), ints("e", 7), ints("a", 1)], opset=13)
    # A class token: a parameter before every example's rows.
    add("concat_token", {"c": p(1, 1, 2), "w": p(2), "v": p(4, 1)},
        [("Shape", ["x"], "s", {"start": 0, "end": 1}), ("Concat", ["s", "rest"], "t", {"axis": 0}),
         ("Expand", ["c", "t"], "e", {}), ("Mul", ["x", "w"], "h", {}), ("Concat", ["e", "h"], "j", {"axis": 1}),
         ("Mul", ["j", "v"], "y", {})],
        lambda q, x: jnp.concatenate([jnp.broadcast_to(q["c"], (len(x), 1, 2)), x * q["w"]], 1) * q["v"],
        dims=(3, 2), constants=[ints("rest", 1, 2)])
    add("concat_twice", {"v": p(6)}, [("Concat", ["x", "x"], "j", {"axis": 1}), ("Mul", ["j", "v"], "y", {})],
        lambda q, x: jnp.concatenate([x, x], 1) * q["v"])
    add("concat_middle", {"w": p(2), "v": p(6)},
        [("Mul", ["x", "w"], "h", {}), ("Concat", ["x", "h", "x"], "j", {"axis": 1}), ("Mul", ["j", "v"], "y", {})],
        lambda q, x: jnp.concatenate([x, x * q["w"], x], 1) * q["v"], width=2)

    # Every piece with a gradient; and gaps first, within and last.
    moved("split", [("Split", ["h", "s"], ["a", "b", "c"], {"axis": 1}), ("Mul", ["a", "c"], "ac", {}),
                    ("Mul", ["ac", "b"], "o", {})],
          lambda h: h[:, :2] * h[:, 3:] * h[:, 2:3], (5,), (5,), (2,), constants=[ints("s", 2, 1, 2)], opset=13)
    moved("split_equal", [("Split", ["h"], ["a", "b", "c"], {"axis": -1}), ("Mul", ["a", "c"], "o", {})],
          lambda h: h[..., :1] * h[..., 2:], (2, 3), (3,), (2, 1), opset=13)
    moved("split_number", [("Split", ["h"], ["a", "b", "c"], {"axis": 1, "num_outputs": 3}), ("Mul", ["b", "b"], "bb", {}),
                           ("Concat", ["bb", "c"], "o", {"axis": 1})],
          lambda h: jnp.concatenate([h[:, 2:4] ** 2, h[:, 4:]], 1), (5,), (5,), (3,), opset=18)
    moved("split_batch_second", [("Transpose", ["h"], "ht", {}), ("Split", ["ht", "s"], ["a", "b", "c", "d"], {}),
                                 ("Transpose", ["b"], "o", {})],
          lambda h: h[:, 1:3], (5,), (5,), (2,), constants=[ints("s", 1, 2, 1, 1)])


def slices(moved):
    end = np.iinfo(np.int64).max

    def sliced(name, function, dims, after, starts, ends, axes=None, steps=None, **kwargs):
        given = {"s": starts, "e": ends, "a": axes, "t": steps}
        names = [key if values is not None else "" for key, values in given.items()]
        while not names[-1]:
            names.pop()
        moved(name, [("Slice", ["h", *names], "o", {})], function, dims, dims, after,
              constants=[ints(key, *values) for key, values in given.items() if values is not None], **kwargs)
    sliced("slice", lambda h: h[:, 1:3], (4,), (2,), [1], [3], [1], opset=13)
    sliced("slice_all_axes", lambda h: h[:, 1:, :-1], (3, 3), (2, 2), [0, 1, 0], [end, end, -1])
    sliced("slice_steps", lambda h: h[:, 1:8:3, ::2], (8, 3), (3, 2), [1, 0], [8, end], [1, -1], [3, 2])
    sliced("slice_steps_cropped", lambda h: h[:, ::3], (7,), (3,), [0], [7], [1], [3])
    sliced("slice_one_of_steps", lambda h: h[:, 1:3:9], (4,), (1,), [1], [3], [1], [9])
    sliced("slice_reversed", lambda h: h[:, ::-1], (4,), (4,), [-1], [-end - 1], [1], [-1], opset=13)
    sliced("slice_reversed_steps", lambda h: h[:, -2:0:-2, ::-1], (6, 2), (2, 2), [-2, 5], [0, -end], [1, 2], [-2, -1])


def repeats(moved, add, p):
    moved("expand", [("Expand", ["h", "s"], "e", {}), ("Flatten", ["e"], "o", {})],
          lambda h: jnp.broadcast_to(h, (len(h), 4, 3)).reshape(-1, 12), (1, 3), (3,), (12,),
          constants=[ints("s", 1, 4, 1)], opset=13)
    add("expand_higher", {"b": p(3, 1), "v": p(2)},
        [("Expand", ["b", "s"], "e", {}), ("Mul", ["x", "e"], "h", {}), ("Mul", ["h", "v"], "y", {})],
        lambda q, x: x * jnp.broadcast_to(q["b"], (2, 3, 2)) * q["v"], dims=(2, 3, 2), constants=[ints("s", 2, 3, 2)])
    moved("tile", [("Tile", ["h", "r"], "o", {})], lambda h: jnp.tile(h, (1, 2, 3)), (2, 1), (2, 1), (4, 3),
          constants=[ints("r", 1, 2, 3)], opset=13)
    moved("tile_once", [("Tile", ["h", "r"], "o", {})], lambda h: h, (2,), (2,), (2,), constants=[ints("r", 1, 1)])
    add("tile_to_batch", {"c": p(1, 3), "v": p(3)},
        [("Shape", ["x"], "s", {}), ("Gather", ["s", "zero"], "n", {}), ("Unsqueeze", ["n", "zeros"], "nn", {}),
         ("Concat", ["nn", "ones"], "r", {"axis": 0}), ("Tile", ["c", "r"], "t", {}), ("Mul", ["t", "x"], "h", {}),
         ("Mul", ["h", "v"], "y", {})],
        lambda q, x: jnp.tile(q["c"], (len(x), 1)) * x * q["v"],
        constants=[("zero", np.int64(0)), ints("zeros", 0), ints("ones", 1)])


def pads(moved):
    def padded(name, function, dims, after, pads, axes=None, value=None, opset=17, reference=True, **attrs):
        names = ["h", "p", "c" if value is not None else "", "a" if axes else ""]
        while not names[-1]:
            names.pop()
        constants = [ints("p", *pads)] + ([("c", np.float32(value))] if value is not None else [])
        constants += [ints("a", *axes)] if axes else []
        moved(name, [("Pad", names, "o", attrs)], function, dims, dims, after, constants=constants, opset=opset,
              reference=reference)
    around = lambda **kwargs: lambda h: jnp.pad(h, ((0, 0), (1, 2), (2, 0)), **kwargs)
    padded("pad", around(), (2, 2), (5, 4), [0, 1, 2, 0, 2, 0], opset=13)
    padded("pad_value", around(constant_values=1.5), (2, 2), (5, 4), [0, 1, 2, 0, 2, 0], value=1.5)
    padded("pad_axes", around(), (2, 2), (5, 4), [2, 1, 0, 2], axes=[-1, 1], opset=18)
    padded("pad_negative", lambda h: jnp.pad(h[:, 1:], ((0, 0), (0, 2))), (3,), (4,), [0, -1, 0, 2], reference=False)
    around = lambda **kwargs: lambda h: jnp.pad(h, ((0, 0), (0, 0), (1, 2), (2, 0)), **kwargs)
    padded("pad_reflect", around(mode="reflect"), (2, 3, 3), (6, 5), [0, 0, 1, 2, 0, 0, 2, 0], mode="reflect", opset=13)
    padded("pad_edge", around(mode="edge"), (2, 2, 2), (5, 4), [1, 2, 2, 0], axes=[2, 3], mode="edge", opset=19)
    padded("pad_reflect_outer", lambda h: jnp.pad(h, ((0, 0), (2, 1), (0, 0), (0, 0)), mode="reflect"), (3, 2, 2), (6, 1, 1),
           [0, 2, 0, 0, 0, 1, 0, 0], mode="reflect", opset=21)


def blocks_and_triangles(moved, add, p):
    def depth_to_space(h, crd):
        n, c, height, width = h.shape
        apart = h.reshape(n, 2, 2, 2, height, width) if crd else h.reshape(n, 2, 2, 2, height, width).transpose(0, 3, 1, 2, 4, 5)
        # Now [N, C, row in block, column in block, H, W].
        return apart.transpose(0, 1, 4, 2, 5, 3).reshape(n, 2, 2 * height, 2 * width)
    for mode in ["DCR", "CRD"]:
        moved(f"depth_to_space_{mode.lower()}", [("DepthToSpace", ["h"], "o", {"blocksize": 2, "mode": mode})],
              lambda h, mode=mode: depth_to_space(h, mode == "CRD"), (8, 1, 2), (8, 1, 2), (2, 2, 4), opset=13)
    moved("space_to_depth", [("SpaceToDepth", ["h"], "o", {"blocksize": 2})],
          lambda h: h.reshape(-1, 2, 1, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(-1, 8, 1, 2), (2, 2, 4), (2, 2, 4), (8, 1, 2))
    moved("trilu", [("Trilu", ["h"], "o", {})], lambda h: jnp.triu(h), (2, 3), (2, 3), (2, 3))
    moved("trilu_lower", [("Trilu", ["h", "k"], "o", {"upper": 0})], lambda h: jnp.tril(h, 1), (3, 3), (3, 3), (3, 3),
          constants=[("k", np.int64(1))], opset=14)
    add("eye_like", {"w": p(3, 3)},
        [("EyeLike", ["w"], "i", {"k": 1}), ("Add", ["w", "i"], "m", {}), ("MatMul", ["x", "m"], "y", {})],
        lambda q, x: x @ (q["w"] + jnp.eye(3, k=1)))


def chains(add, p):
    """The ways in which exporters compute shapes from the batch's."""
    zero, zeros = ("zero", np.int64(0)), ints("zeros", 0)
    two = ("two", np.float32(2))
    size = lambda out, value="x": [("Shape", [value], f"{out}s", {}), ("Gather", [f"{out}s", "zero"], f"{out}n", {"axis": 0}),
                                   ("Unsqueeze", [f"{out}n", "zeros"], out, {})]
    add("chain_view", {"w": p(6), "v": p(3)},
        [("Mul", ["x", "w"], "h", {}), *size("n", "h"), ("Concat", ["n", "rest"], "t", {"axis": 0}),
         ("Reshape", ["h", "t"], "o", {}), ("Mul", ["o", "v"], "y", {})],
        lambda q, x: (x * q["w"]).reshape(-1, 2, 3) * q["v"], width=6, constants=[zero, zeros, ints("rest", 2, 3)], opset=13)
    # flatten of [N, T, F] to [N·T, F] and back, with sizes multiplied and divided.
    add("chain_batch_multiple", {"w": p(3, 2), "v": p(2, 1)},
        [*size("n"), ("Mul", ["n", "twos"], "nt", {}), ("Concat", ["nt", "minus"], "flat", {"axis": 0}),
         ("Reshape", ["x", "flat"], "rows", {}), ("Gemm", ["rows", "w"], "g", {}), ("Div", ["nt", "twos"], "back", {}),
         ("Slice", ["ns", "twos", "threes"], "unused", {}), ("Concat", ["back", "twos", "twos"], "t", {"axis": 0}),
         ("Reshape", ["g", "t"], "o", {}), ("Mul", ["o", "v"], "y", {})],
        lambda q, x: (x @ q["w"]) * q["v"], dims=(2, 3),
        constants=[zero, zeros, ints("twos", 2), ints("minus", -1), ints("threes", 3)])
    add("chain_shape_bounds", {"w": p(4), "v": p(2)},
        [("Mul", ["x", "w"], "h", {}), ("Shape", ["h"], "n", {"end": -1}), ("Shape", ["h"], "l", {"start": -1}),
         ("Div", ["l", "twos"], "half", {}), ("Concat", ["n", "twos", "half"], "t", {"axis": 0}),
         ("Reshape", ["h", "t"], "o", {}), ("Mul", ["o", "v"], "y", {})],
        lambda q, x: (x * q["w"]).reshape(-1, 2, 2) * q["v"], width=4, constants=[ints("twos", 2)], opset=15)
    add("chain_size", {"w": p(4)},
        [("Size", ["x"], "all", {}), ("Unsqueeze", ["all", "zeros"], "a", {}), ("Reshape", ["x", "a"], "flat", {}),
         ("Mul", ["flat", "two"], "h", {}), ("Reshape", ["h", "t"], "o", {}), ("Mul", ["o", "w"], "y", {})],
        lambda q, x: x * 2 * q["w"], width=4, constants=[zeros, two, ints("t", -1, 4)])
    # expand(-1, -1, 2) of a class token: a -1 keeps an axis, which Where finds out.
    add("chain_expand", {"c": p(1, 1, 2), "v": p(3, 2)},
        [*size("n"), ("Concat", ["n", "rest"], "t", {"axis": 0}), ("Shape", ["t"], "length", {}),
         ("ConstantOfShape", ["length"], "ones", {"value": tensor(TensorProto.INT64, 1)}), ("Mul", ["ones", "minus"], "keep", {}),
         ("Equal", ["t", "keep"], "kept", {}), ("Where", ["kept", "ones", "t"], "to", {}), ("Expand", ["c", "to"], "e", {}),
         ("Concat", ["e", "x"], "h", {"axis": 1}), ("Mul", ["h", "v"], "y", {})],
        lambda q, x: jnp.concatenate([jnp.broadcast_to(q["c"], (len(x), 1, 2)), x], 1) * q["v"], dims=(2, 2),
        constants=[zero, zeros, ints("rest", -1, -1), ("minus", np.int64(-1))])
    # Positions: arange(T) as an index, and as numbers.
    add("chain_range", {"e": p(4, 2), "v": p(2)},
        [("Shape", ["x"], "s", {}), ("Gather", ["s", "one"], "t", {}), ("Range", ["zero", "t", "one"], "at", {}),
         ("Gather", ["e", "at"], "pos", {}), ("Range", ["a", "b", "c"], "row", {}), ("Add", ["x", "pos"], "h", {}),
         ("Mul", ["h", "row"], "m", {}), ("Mul", ["m", "v"], "y", {})],
        lambda q, x: (x + q["e"][:3]) * jnp.array([1.0, 1.5]) * q["v"], dims=(3, 2),
        constants=[zero, ("one", np.int64(1)), ("a", np.float32(1)), ("b", np.float32(2)), ("c", np.float32(0.5))])
    # x.new_ones(x.shape[0], 3) and such.
    add("chain_filled", {"w": p(3), "v": p(3)},
        [*size("n"), ("Concat", ["n", "three"], "t", {"axis": 0}),
         ("ConstantOfShape", ["t"], "f", {"value": tensor(TensorProto.FLOAT, 0.5)}), ("Mul", ["f", "w"], "h", {}),
         ("Add", ["h", "x"], "g", {}), ("Mul", ["g", "v"], "y", {})],
        lambda q, x: (0.5 * q["w"] + x) * q["v"], constants=[zero, zeros, ints("three", 3)])
