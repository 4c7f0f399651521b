"""Operators that look up, place and pick by index."""

import jax.numpy as jnp
import numpy as np
from onnx import TensorProto


def ints(name, *values):
    return name, np.array(values, np.int64)


def build(add, p):
    tables(add, p)
    lookups(add, p)
    elements(add, p)
    positions(add, p)
    scatters(add, p)
    picks(add, p)


def tables(add, p):
    """Embeddings: the table is a parameter, the indices an input. ScatterND adds from operator set 16 on."""
    for opset in [13, 18]:
        add(f"embedding_{opset}", {"t": p(5, 3), "w": p(3), "v": p(3)},
            [("Gather", ["t", "i"], "e", {}), ("Mul", ["e", "v"], "m", {}), ("Mul", ["x", "w"], "h", {}),
             ("Add", ["m", "h"], "y", {})],
            lambda q, x, i: q["t"][i] * q["v"] + x * q["w"], dims=(2, 3), indices={"i": ((2,), 5)}, opset=opset)
        # A table of which the axis looked up is not the first, and one of single numbers.
        add(f"embedding_inner_axis_{opset}", {"t": p(2, 4, 3), "b": p(4), "v": p(2, 1, 1, 1)},
            [("Gather", ["t", "i"], "e", {"axis": 1}), ("Mul", ["e", "v"], "m", {}),
             ("Transpose", ["m"], "mt", {"perm": [1, 2, 0, 3]}), ("Gather", ["b", "i"], "c", {}),
             ("Unsqueeze", ["c", "a"], "cc", {}), ("Mul", ["mt", "cc"], "mm", {}), ("Mul", ["mm", "x"], "y", {})],
            lambda q, x, i: (q["t"][:, i] * q["v"]).transpose(1, 2, 0, 3) * q["b"][i][:, :, None, None] * x,
            dims=(2, 2, 3), indices={"i": ((2,), 4)}, constants=[ints("a", -1, -2)], opset=opset)
    add("embedding_from_end", {"t": p(4, 2)},
        [("Sub", ["i", "four"], "j", {}), ("Cast", ["j"], "k", {"to": TensorProto.INT32}), ("Gather", ["t", "k"], "e", {}),
         ("Mul", ["e", "x"], "y", {})],
        lambda q, x, i: q["t"][i - 4] * x, width=2, indices={"i": ((), 4)}, constants=[("four", np.int64(4))])
    add("table_known_indices", {"t": p(4, 2), "v": p(3, 2)},
        [("Gather", ["t", "i"], "e", {}), ("Mul", ["e", "v"], "m", {}), ("Mul", ["x", "m"], "y", {})],
        lambda q, x: x * q["t"][jnp.array([2, 0, 2])] * q["v"], dims=(3, 2), constants=[ints("i", 2, 0, -2)])


def lookups(add, p):
    """Parts of every example, by known indices and by such that only the runtime knows."""
    def looked_up(name, axis, index, dims, after, constants, nodes=(), opset=17):
        at = np.asarray(index)
        add(name, {"w": p(*dims), "v": p(*after)},
            [("Mul", ["x", "w"], "h", {}), *nodes, ("Gather", ["h", "i"], "g", {"axis": axis}), ("Mul", ["g", "v"], "y", {})],
            lambda q, x: jnp.take(x * q["w"], at, axis=axis) * q["v"], dims=dims, constants=constants, opset=opset)
    looked_up("gather_one", 1, 0, (3, 2), (2,), [("i", np.int64(0))], opset=13)
    looked_up("gather_last", 2, 1, (3, 2), (3,), [("i", np.int64(-1))])
    looked_up("gather_run", 1, [1, 2], (4, 2), (2, 2), [ints("i", 1, 2)])
    looked_up("gather_known", 1, [2, 0, 2], (3, 2), (3, 2), [ints("i", 2, 0, 2)], opset=13)
    looked_up("gather_known_inner", 1, [[2, 0], [1, 1]], (3, 2, 2), (2, 2, 2, 1), [("i", np.array([[2, 0], [1, 1]]))])
    looked_up("gather_known_last", 2, [[1, 0, 1]], (2, 3), (1, 3), [("i", np.array([[1, 0, 1]]))])
    # A cast from a float is beyond what is worked out when the model is read.
    hidden = [("Cast", ["f"], "i", {"to": TensorProto.INT64})]
    looked_up("gather_unknown", 1, [1, 0, 1], (2, 3), (3, 3), [("f", np.float32([1.2, 0, 1.7]))], hidden)
    looked_up("gather_unknown_last", 2, [[1, 0, 1]], (2, 3), (1, 3), [("f", np.float32([[1.2, 0, 1.7]]))], hidden)


def elements(add, p):
    for opset in [13, 18]:
        add(f"gather_elements_{opset}", {"w": p(4), "v": p(2)},
            [("Mul", ["x", "w"], "h", {}), ("GatherElements", ["h", "i"], "g", {"axis": 1}), ("Mul", ["g", "v"], "y", {})],
            lambda q, x, i: jnp.take_along_axis(x * q["w"], i, 1) * q["v"], width=4, indices={"i": ((2,), 4)}, opset=opset)
        # The indices leave out the last row.
        add(f"gather_elements_part_{opset}", {"w": p(3, 2), "v": p(2, 3)},
            [("Mul", ["x", "w"], "h", {}), ("GatherElements", ["h", "i"], "g", {"axis": -1}), ("Mul", ["g", "v"], "y", {})],
            lambda q, x, i: jnp.take_along_axis((x * q["w"])[:, :2], i, 2) * q["v"],
            dims=(3, 2), indices={"i": ((2, 3), 2)}, opset=opset, reference=False)
        add(f"gather_elements_table_{opset}", {"t": p(4, 2), "v": p(2)},
            [("GatherElements", ["t", "i"], "g", {}), ("Mul", ["g", "v"], "m", {}), ("Mul", ["m", "x"], "y", {})],
            lambda q, x, i: jnp.take_along_axis(q["t"], i, 0) * q["v"] * x, width=2, indices={"i": ((2,), 4)}, opset=opset)


def positions(add, p):
    for opset in [13, 18]:
        add(f"gather_nd_table_{opset}", {"t": p(3, 2, 2), "v": p(2)},
            [("GatherND", ["t", "i"], "g", {}), ("Mul", ["g", "v"], "m", {}), ("Mul", ["m", "x"], "y", {})],
            lambda q, x, i: q["t"][i[..., 0], i[..., 1]] * q["v"] * x, width=2, indices={"i": ((2,), 2)}, opset=opset)
        add(f"gather_nd_table_from_end_{opset}", {"t": p(2, 3), "v": p(3)},
            [("Sub", ["i", "two"], "j", {}), ("GatherND", ["t", "j"], "g", {}), ("Mul", ["g", "v"], "m", {}),
             ("Mul", ["m", "x"], "y", {})],
            lambda q, x, i: q["t"][i[..., 0] - 2, i[..., 1] - 2] * q["v"] * x, dims=(3,), indices={"i": ((3, 2), 2)},
            constants=[("two", np.int64(2))], opset=opset)
        rows = lambda i: jnp.arange(len(i))
        add(f"gather_nd_rows_{opset}", {"w": p(3, 2), "v": p(2)},
            [("Mul", ["x", "w"], "h", {}), ("GatherND", ["h", "i"], "g", {"batch_dims": 1}), ("Mul", ["g", "v"], "y", {})],
            lambda q, x, i: (x * q["w"])[rows(i), i[:, 0]] * q["v"], dims=(3, 2), indices={"i": ((1,), 3)}, opset=opset)
        add(f"gather_nd_rows_deep_{opset}", {"w": p(2, 2, 3), "v": p(4, 3)},
            [("Mul", ["x", "w"], "h", {}), ("GatherND", ["h", "i"], "g", {"batch_dims": 1}), ("Mul", ["g", "v"], "y", {})],
            lambda q, x, i: (x * q["w"])[rows(i)[:, None], i[..., 0], i[..., 1]] * q["v"],
            dims=(2, 2, 3), indices={"i": ((4, 2), 2)}, opset=opset)
        add(f"gather_nd_batch_second_{opset}", {"w": p(3, 2), "v": p(2)},
            [("Mul", ["x", "w"], "h", {}), ("Transpose", ["h"], "ht", {"perm": [1, 0, 2]}), ("GatherND", ["ht", "i"], "g", {}),
             ("Transpose", ["g"], "gt", {"perm": [1, 0, 2]}), ("Mul", ["gt", "v"], "y", {})],
            lambda q, x: (x * q["w"])[:, jnp.array([2, 0, 2])] * q["v"], dims=(3, 2),
            constants=[("i", np.array([[2], [0], [2]]))], opset=opset)


def scatters(add, p):
    # An order of each row, in which no index repeats.
    order = [("TopK", ["x", "all"], ["ranked", "r"], {"axis": 1})]
    add("scatter_elements", {"w": p(4), "v": p(4)},
        [("Mul", ["x", "w"], "h", {}), *order, ("Slice", ["r", "s", "e", "a"], "at", {}), ("Slice", ["h", "s", "e", "a"], "u", {}),
         ("ScatterElements", ["h", "at", "u"], "o", {"axis": 1}), ("Mul", ["o", "v"], "y", {})],
        lambda q, x: put(x * q["w"], jnp.argsort(-x, axis=1)[:, :2], (x * q["w"])[:, :2]) * q["v"],
        width=4, constants=[ints("all", 4), ints("s", 0), ints("e", 2), ints("a", 1)], opset=13)
    rows = lambda i: jnp.arange(len(i))[:, None]
    add("scatter_elements_add", {"w": p(3), "u": p(2), "v": p(3)},
        [("Mul", ["x", "w"], "h", {}), ("Slice", ["x", "s", "e", "a"], "part", {}), ("Mul", ["part", "u"], "m", {}),
         ("ScatterElements", ["h", "i", "m"], "o", {"axis": -1, "reduction": "add"}), ("Mul", ["o", "v"], "y", {})],
        lambda q, x, i: jnp.asarray(x * q["w"]).at[rows(i), i].add(x[:, 1:] * q["u"]) * q["v"],
        indices={"i": ((2,), 3)}, constants=[ints("s", 1), ints("e", 3), ints("a", 1)], opset=18)
    add("scatter_nd", {"t": p(4, 2), "u": p(2, 2), "v": p(4, 2)},
        [("ScatterND", ["t", "i", "u"], "o", {}), ("Mul", ["o", "v"], "m", {}), ("Mul", ["m", "x"], "y", {})],
        lambda q, x: jnp.asarray(q["t"]).at[jnp.array([3, 1])].set(q["u"]) * q["v"] * x, dims=(4, 2),
        constants=[("i", np.array([[3], [-3]]))], opset=13)
    add("scatter_nd_add", {"t": p(3, 2), "u": p(3), "v": p(3, 2)},
        [("ScatterND", ["t", "i", "u"], "o", {"reduction": "add"}), ("Mul", ["o", "v"], "m", {}), ("Mul", ["m", "x"], "y", {})],
        lambda q, x: jnp.asarray(q["t"]).at[jnp.array([2, 0, 2]), jnp.array([1, 0, 1])].add(q["u"]) * q["v"] * x, dims=(3, 2),
        constants=[("i", np.array([[2, 1], [0, 0], [2, 1]]))], opset=16)
    add("scatter_nd_batch_second", {"w": p(3, 2), "v": p(3, 1)},
        [("Mul", ["x", "w"], "h", {}), ("Transpose", ["h"], "ht", {"perm": [1, 0, 2]}), ("Gather", ["ht", "one"], "u", {}),
         ("ScatterND", ["ht", "i", "u"], "o", {}), ("Transpose", ["o"], "ot", {"perm": [1, 0, 2]}), ("Mul", ["ot", "v"], "y", {})],
        lambda q, x: jnp.asarray(x * q["w"]).at[:, 2].set((x * q["w"])[:, 1]) * q["v"], dims=(3, 2),
        constants=[("i", np.array([[2]])), ints("one", 1)])


def put(h, at, updates):
    return jnp.asarray(h).at[jnp.arange(len(h))[:, None], at].set(updates)


def picks(add, p):
    add("one_hot", {"w": p(4, 2)},
        [("OneHot", ["i", "depth", "values"], "h", {}), ("MatMul", ["h", "w"], "g", {}), ("Mul", ["g", "x"], "y", {})],
        lambda q, x, i: (jnp.eye(4)[i] * 1.5 - 0.5) @ q["w"] * x, width=2, indices={"i": ((), 4)},
        constants=[("depth", np.int64(4)), ("values", np.float32([-0.5, 1]))], reference=False)
    add("one_hot_axis", {"w": p(3, 2)},
        [("OneHot", ["i", "depth", "values"], "h", {"axis": 1}), ("Mul", ["h", "w"], "g", {}), ("Mul", ["g", "x"], "y", {})],
        lambda q, x, i: jnp.swapaxes(jnp.eye(3)[i], 1, 2) * q["w"] * x, dims=(3, 2), indices={"i": ((2,), 3)},
        constants=[ints("depth", 3), ("values", np.float32([0, 1]))], reference=False)
    # Parameters that keep values apart, so that differences do not change their order.
    far = lambda *dims: (np.linspace(1, 4, int(np.prod(dims))).reshape(dims)).astype(np.float32)
    add("topk", {"b": far(5), "v": p(2)},
        [("Mul", ["x", "small"], "xs", {}), ("Add", ["xs", "b"], "h", {}), ("TopK", ["h", "k"], ["t", "unused"], {}), ("Mul", ["t", "v"], "y", {})],
        lambda q, x: -jnp.sort(-(0.1 * x + q["b"]), axis=1)[:, :2] * q["v"], width=5,
        constants=[ints("k", 2), ("small", np.float32(0.1))], opset=13)
    add("topk_smallest", {"b": far(4, 1), "v": p(3, 2)},
        [("Mul", ["x", "small"], "xs", {}), ("Add", ["xs", "b"], "h", {}),
         ("TopK", ["h", "k"], ["t", "at"], {"axis": 1, "largest": 0}), ("Cast", ["at"], "f", {"to": TensorProto.FLOAT}),
         ("Mul", ["t", "v"], "m", {}), ("Add", ["m", "f"], "y", {})],
        lambda q, x: jnp.sort(0.1 * x + q["b"], axis=1)[:, :3] * q["v"] + jnp.arange(3.0)[:, None], dims=(4, 2),
        constants=[ints("k", 3), ("small", np.float32(0.1))])
