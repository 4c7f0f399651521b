"""Pooling: windows that lie side by side, and such that overlap, hang over or are padded."""

from itertools import product

import jax.numpy as jnp
import numpy as np


def windows(x, kernel, strides=None, pads=None, dilations=None, outputs=None, fill=0.0):
    """What each window holds: `[N, C, outputs…, elements]`, with `fill` outside the input."""
    rank = len(kernel)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    sizes = x.shape[2:]
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    outputs = outputs or [(sizes[i] + pads[i] + pads[rank + i] - extent[i]) // strides[i] + 1 for i in range(rank)]
    over = [max(0, (outputs[i] - 1) * strides[i] + extent[i] - sizes[i] - pads[i]) for i in range(rank)]
    x = jnp.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], over)], constant_values=fill)
    cut = lambda at: x[(..., *(slice(t * d, t * d + (o - 1) * s + 1, s)
                               for t, d, o, s in zip(at, dilations, outputs, strides)))]
    return jnp.stack([cut(at) for at in product(*map(range, kernel))], axis=-1)


def largest(x, kernel_shape, **geometry):
    return jnp.max(windows(x, kernel_shape, fill=-jnp.inf, **geometry), axis=-1)


def mean(x, kernel_shape, padding=None, **geometry):
    """`padding` are the elements around the input that count; they are zeros."""
    rank = x.ndim - 2
    padding = padding or [0] * 2 * rank
    counted = jnp.pad(jnp.ones(x.shape[2:]), list(zip(padding[:rank], padding[rank:])), constant_values=1.0)
    inner = {**geometry, "pads": [a - b for a, b in zip(geometry.get("pads") or [0] * 2 * rank, padding)]}
    outputs = windows(x, kernel_shape, **geometry).shape[2:2 + rank]
    counts = windows(counted[None, None], kernel_shape, **{**inner, "outputs": outputs}).sum(-1)
    return windows(x, kernel_shape, **geometry).sum(-1) / counts


def build(add, p):
    apart = lambda *shape: (np.random.default_rng(1).permutation(int(np.prod(shape))).reshape(shape) * 0.2 - 1)

    # The reference evaluator rounds SAME down, and pools lines over the wrong axis.
    def maximum(name, dims, attrs, outputs=None, pads=None, opset=17, op="MaxPool", twin=largest, reference=True):
        """x is scaled down and spread by a parameter of its own shape, so that no two elements are so near
        each other that a difference quotient exchanges them."""
        ones = (1,) * (len(dims) - 1)
        known = {k: v for k, v in attrs.items() if k not in ("auto_pad", "ceil_mode", "storage_order")}
        known |= {"outputs": outputs} if outputs else {}
        known |= {"pads": pads} if pads else {}
        add(name, {"s": apart(*dims).astype(np.float32), "v": p(dims[0], *ones)},
            [("Mul", ["x", "small"], "h", {}), ("Add", ["h", "s"], "g", {}), (op, ["g"], "m", attrs),
             ("Mul", ["m", "v"], "y", {})],
            lambda q, x: twin(x * 0.05 + q["s"], **known) * q["v"],
            dims=dims, opset=opset, constants=[("small", np.float32(0.05))], reference=reference)

    maximum("max", (2, 4, 6), {"kernel_shape": [2, 3], "strides": [2, 3]}, opset=13)
    maximum("max_left_over", (1, 5, 7), {"kernel_shape": [2, 3], "strides": [2, 3]}, opset=22)
    maximum("max_line", (2, 6), {"kernel_shape": [3], "strides": [3]})
    maximum("max_one_window", (2, 3, 4), {"kernel_shape": [3, 3]})
    maximum("max_overlapping", (2, 5, 4), {"kernel_shape": [3, 2]})
    maximum("max_padded", (1, 5, 5), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    maximum("max_padded_slack", (1, 6, 5), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1]})
    maximum("max_dilated", (1, 6, 5), {"kernel_shape": [2, 2], "strides": [2, 1], "dilations": [3, 2]})
    maximum("max_ceil", (1, 5, 6), {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, outputs=[3, 3])
    maximum("max_ceil_padded", (1, 6), {"kernel_shape": [3], "strides": [2], "pads": [1, 0], "ceil_mode": 1}, outputs=[3])
    maximum("max_same_upper", (1, 5, 4), {"kernel_shape": [3, 2], "strides": [2, 1], "auto_pad": "SAME_UPPER"},
            pads=[1, 0, 1, 1])
    maximum("max_same_lower", (1, 5, 4), {"kernel_shape": [2, 2], "strides": [2, 1], "auto_pad": "SAME_LOWER"},
            pads=[1, 1, 0, 0], reference=False)
    maximum("max_line_overlapping", (2, 6), {"kernel_shape": [3], "strides": [2], "pads": [1, 1], "auto_pad": "NOTSET"})
    maximum("max_global", (2, 3, 2), {}, op="GlobalMaxPool", twin=lambda x: jnp.max(x, (2, 3), keepdims=True))
    maximum("max_global_line", (2, 4), {}, op="GlobalMaxPool", twin=lambda x: jnp.max(x, 2, keepdims=True), opset=22,
            reference=False)
    # Whichever of the elements is the largest for each example
    add("max_of_examples", {"s": p(2, 1, 1), "v": p(2, 2, 2)},
        [("Add", ["x", "s"], "h", {}), ("MaxPool", ["h"], ["m", "where"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
         ("Mul", ["m", "v"], "y", {})],
        lambda q, x: largest(x + q["s"], [2, 2], strides=[2, 2]) * q["v"], dims=(2, 4, 4))
    # Two elements are equal in each window, and share; the difference quotient sees half of either.
    pairs = np.float32([[1, 1, 0, 0.5], [0, -0.5, 0.5, 0.2], [0.3, 0.1, 0, 0.7], [-0.2, 0.3, 0.7, 0.1]])[None]
    nothing, nowhere = ("nothing", np.float32(0)), {"constants": [("nothing", np.float32(0))]}
    def ties(name, values, op, attrs, twin):
        add(name, {"s": values, "v": p(1, 1, 1)},
            [("Mul", ["x", "nothing"], "z", {}), ("Add", ["z", "s"], "h", {}), (op, ["h"], "m", attrs),
             ("Mul", ["m", "v"], "y", {})],
            lambda q, x: twin(x * 0 + q["s"]) * q["v"], dims=values.shape, loss="mean_absolute_error", **nowhere)
    pairs[0, 1, 2] = 0.5
    ties("max_ties", pairs, "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]},
         lambda x: largest(x, [2, 2], strides=[2, 2]))
    ties("max_ties_overlapping", np.float32([[1, 1, 0, -0.5, 0.7, 0.3, 0.7]]), "MaxPool",
         {"kernel_shape": [3], "strides": [2]}, lambda x: largest(x, [3], strides=[2]))
    ties("max_ties_global", np.float32([[[0.5, 0.1, 0.5]]]), "GlobalMaxPool", {},
         lambda x: jnp.max(x, (2, 3), keepdims=True))

    def average(name, dims, attrs, outputs=None, pads=None, padding=None, opset=17, op="AveragePool", twin=mean,
                reference=True):
        known = {k: v for k, v in attrs.items() if k not in ("auto_pad", "ceil_mode", "count_include_pad")}
        known |= {"outputs": outputs} if outputs else {}
        known |= {"pads": pads} if pads else {}
        known |= {"padding": padding} if padding else {}
        add(name, {"s": p(*dims), "v": p(dims[0], *[1] * (len(dims) - 1))},
            [("Mul", ["x", "s"], "h", {}), (op, ["h"], "m", attrs), ("Mul", ["m", "v"], "y", {})],
            lambda q, x: twin(x * q["s"], **known) * q["v"], dims=dims, opset=opset, reference=reference)

    average("average", (2, 4, 6), {"kernel_shape": [2, 3], "strides": [2, 3]}, opset=13)
    average("average_left_over", (1, 5, 7), {"kernel_shape": [2, 3], "strides": [2, 3]})
    average("average_line", (2, 6), {"kernel_shape": [2], "strides": [2]}, opset=22)
    average("average_overlapping", (2, 5, 4), {"kernel_shape": [3, 2], "strides": [2, 1]})
    average("average_padded", (2, 5, 5), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    average("average_counting_padding", (1, 5, 4), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1],
            "count_include_pad": 1}, padding=[1, 0, 1, 1])
    average("average_dilated", (1, 6, 5), {"kernel_shape": [2, 2], "strides": [1, 2], "dilations": [3, 2],
            "pads": [1, 0, 0, 1]}, opset=19)
    average("average_ceil", (1, 5, 6), {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, outputs=[3, 3])
    average("average_ceil_counting_padding", (1, 6), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1, "pads": [1, 0],
            "count_include_pad": 1}, outputs=[3], padding=[1, 0])
    average("average_ceil_hanging", (1, 5), {"kernel_shape": [3], "strides": [3], "ceil_mode": 1, "pads": [0, 0],
            "count_include_pad": 1}, outputs=[2], padding=[0, 0])
    average("average_same_upper", (1, 5, 4), {"kernel_shape": [3, 2], "strides": [2, 1], "auto_pad": "SAME_UPPER"},
            pads=[1, 0, 1, 1])
    average("average_same_lower", (1, 5), {"kernel_shape": [2], "auto_pad": "SAME_LOWER"}, pads=[1, 0])
    average("average_global", (2, 3, 2), {}, op="GlobalAveragePool", twin=lambda x: jnp.mean(x, (2, 3), keepdims=True))
    average("average_global_line", (2, 4), {}, op="GlobalAveragePool", twin=lambda x: jnp.mean(x, 2, keepdims=True))

    # The batch in the channels' place
    around = {"perm": [1, 0, 2, 3]}
    for name, op, twin in [("batch_second_max", "MaxPool", largest), ("batch_second_average", "AveragePool", mean)]:
        attrs = {"kernel_shape": [2, 2], "strides": [1, 2]}
        add(name, {"s": p(2, 1, 1), "v": p(2, 1, 1)},
            [("Add", ["x", "s"], "h", {}), ("Transpose", ["h"], "t", around), (op, ["t"], "m", attrs),
             ("Transpose", ["m"], "b", around), ("Mul", ["b", "v"], "y", {})],
            lambda q, x, f=twin: f(x + q["s"], [2, 2], strides=[1, 2]) * q["v"], dims=(2, 3, 4))
