"""Convolution and its transpose: each branch of their gradients, in one and two dimensions."""

import jax.numpy as jnp
import numpy as np
from jax import lax

LAYOUT = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


def convolve(x, w, strides=None, pads=None, dilations=None, group=1, spread=None):
    """`spread` are zeros put between the inputs; pads are ONNX's, before all axes and then behind them."""
    rank = w.ndim - 2
    ones, pads = (1,) * rank, pads or [0] * 2 * rank
    return lax.conv_general_dilated(x, w, strides or ones, list(zip(pads[:rank], pads[rank:])), spread or ones,
                                    dilations or ones, LAYOUT[rank], feature_group_count=group)


def transposed(x, w, strides=None, pads=None, dilations=None, group=1, output_padding=None):
    """As a convolution of the inputs spread by the strides, with the kernel turned round."""
    rank = w.ndim - 2
    pads, ones = pads or [0] * 2 * rank, (1,) * rank
    extent = [(w.shape[2 + i] - 1) * (dilations or ones)[i] for i in range(rank)]
    added = output_padding or [0] * rank
    around = [extent[i] - pads[i] for i in range(rank)] + [extent[i] - pads[rank + i] + added[i] for i in range(rank)]
    c, m, *kernel = w.shape
    turned = jnp.flip(w, range(2, 2 + rank)).reshape(group, c // group, m, *kernel)
    turned = jnp.swapaxes(turned, 1, 2).reshape(group * m, c // group, *kernel)
    return convolve(x, turned, None, around, dilations, group, spread=strides or ones)


def build(add, p):
    def case(name, op, dims, weights, function, attrs=None, resolved=None, bias=True, opset=17, reference=True):
        """x shifted by a parameter for each channel, the operator, and a scale for each channel behind it.
        `resolved` are the pads where the node leaves them to `auto_pad` or `output_shape`."""
        attrs = attrs or {}
        ones, group = (1,) * len(dims[1:]), attrs.get("group", 1)
        outputs = weights[0] if op == "Conv" else weights[1] * group
        params = {"s": p(dims[0], *ones), "w": p(*weights)} | ({"b": p(outputs)} if bias else {})
        params["v"] = p(outputs, *ones)
        known = {k: v for k, v in attrs.items() if k not in ("auto_pad", "output_shape", "kernel_shape")}
        known |= {"pads": resolved} if resolved else {}
        def twin(q, x):
            y = function(x + q["s"], q["w"], **known)
            return (y + q["b"].reshape(-1, *ones) if bias else y) * q["v"]
        add(name, params,
            [("Add", ["x", "s"], "h", {}), (op, ["h", "w", "b"] if bias else ["h", "w"], "c", attrs),
             ("Mul", ["c", "v"], "y", {})], twin, dims=dims, opset=opset, reference=reference)
    conv = lambda name, dims, weights, attrs=None, resolved=None, **more: case(
        f"conv_{name}", "Conv", dims, weights, convolve, attrs, resolved, **more)
    transpose = lambda name, dims, weights, attrs=None, resolved=None, **more: case(
        f"transpose_{name}", "ConvTranspose", dims, weights, transposed, attrs, resolved, **more)

    # The weight gradient as a convolution: one input channel, or few or strided windows for each of several
    conv("one_channel", (1, 4, 5), (2, 1, 3, 2), opset=13)
    conv("one_channel_slack", (1, 6, 7), (2, 1, 2, 3), {"strides": [3, 2], "pads": [0, 1, 0, 1]})
    conv("one_channel_padded_slack", (1, 6, 6), (2, 1, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, bias=False)
    conv("one_channel_dilated", (1, 6, 5), (1, 1, 2, 3), {"dilations": [3, 2], "strides": [2, 1]})
    conv("depthwise_few_windows", (3, 3, 3), (3, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]})
    conv("depthwise_strided", (2, 6, 6), (4, 1, 3, 3), {"group": 2, "strides": [2, 2], "pads": [0, 0, 1, 1]})
    conv("long_kernel", (2, 131), (1, 2, 129), {"pads": [1, 0]})
    conv("long_kernel_grouped", (4, 131), (2, 2, 131), {"group": 2, "pads": [0, 1]}, bias=False)
    # As products over columns: few channels, some, many; groups
    conv("few_channels", (2, 4, 5), (3, 2, 3, 2), {"pads": [1, 0, 2, 1]}, opset=22)
    conv("few_channels_strided", (2, 6, 5), (2, 2, 3, 2), {"strides": [2, 3], "dilations": [2, 1], "pads": [1, 1, 0, 0]})
    conv("some_channels", (5, 4, 4), (2, 5, 3, 2), {"pads": [1, 0, 1, 1]}, bias=False)
    conv("some_channels_dilated", (5, 5, 4), (1, 5, 2, 2), {"dilations": [2, 3], "strides": [1, 1]})
    conv("many_channels", (13, 3, 4), (2, 13, 2, 3), {"pads": [0, 1, 1, 1]})
    conv("grouped", (4, 4, 4), (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]})
    conv("grouped_strided", (4, 4, 5), (2, 2, 2, 3), {"group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1]}, bias=False)
    conv("depthwise", (2, 5, 4), (2, 1, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]})
    conv("depthwise_multiplied", (2, 5, 4), (4, 1, 2, 3), {"group": 2, "pads": [0, 1, 1, 1]})
    # As products with channels last
    conv("many_channels_strided", (8, 5, 4), (2, 8, 3, 2), {"strides": [2, 2], "pads": [1, 1, 1, 0]})
    conv("projection", (8, 4, 3), (2, 8, 1, 1), {"strides": [2, 2]}, bias=False)
    # 1×1: small maps, and one product for each example of large ones
    conv("pointwise", (3, 2, 3), (2, 3, 1, 1))
    p2 = {"s": p(2, 1), "w": p(3, 2, 1), "v": p(1, 3, 2)}
    add("conv_pointwise_large", p2,
        [("Add", ["x", "s"], "h", {}), ("Conv", ["h", "w"], "c", {}),
         ("Conv", ["c", "v"], "y", {"dilations": [40], "strides": [30]})],
        lambda q, x: convolve(convolve(x + q["s"], q["w"]), q["v"], strides=[30], dilations=[40]), dims=(2, 101))
    # One dimension
    conv("line", (3, 7), (2, 3, 3), {"strides": [2], "pads": [2, 1], "kernel_shape": [3]})
    conv("line_some_channels", (5, 6), (2, 5, 2), {"dilations": [2]})
    # Padding left to the runtime
    conv("same_upper", (2, 5, 4), (2, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}, [1, 0, 1, 1])
    conv("same_lower", (2, 5, 4), (2, 2, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}, [1, 1, 1, 0])
    conv("valid", (2, 4, 4), (2, 2, 3, 2), {"auto_pad": "VALID", "strides": [1, 2]})

    # The reference evaluator cannot do groups with biases, nor an output_shape.
    transpose("plain", (2, 3, 4), (2, 3, 2, 3))
    transpose("strided", (3, 3, 2), (3, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]})
    transpose("one_channel", (2, 3, 3), (2, 1, 2, 2), {"strides": [2, 3], "output_padding": [0, 2]}, opset=13)
    transpose("into_many_channels", (1, 2, 2), (1, 8, 2, 2), {"strides": [2, 2]}, bias=False)
    transpose("dilated", (2, 3, 3), (2, 2, 2, 2), {"dilations": [2, 1], "pads": [1, 0, 0, 1], "strides": [1, 2]})
    transpose("grouped", (4, 3, 3), (4, 2, 2, 3), {"group": 2, "strides": [2, 1], "pads": [0, 1, 1, 1]},
              reference=False)
    transpose("depthwise", (2, 3, 4), (2, 1, 3, 2), {"group": 2}, reference=False)
    transpose("line", (2, 4), (2, 3, 3), {"strides": [2], "pads": [1, 0], "output_padding": [1]}, opset=22)
    transpose("output_shape", (2, 3), (2, 1, 4), {"strides": [2], "output_shape": [5]}, [2, 1], reference=False)
    transpose("same_upper", (2, 3), (2, 1, 3), {"strides": [2], "auto_pad": "SAME_UPPER"}, [0, 1])
    transpose("same_lower", (2, 3), (2, 1, 3), {"strides": [2], "auto_pad": "SAME_LOWER"}, [1, 0])

    # Over blocks of channels, of 8 and of 16: windows that do not reach the end, strides that leave the gradient
    # of the input to the transposed convolution, and strides wider than windows, which blocks do not take
    conv("depthwise_blocks", (16, 3, 2), (16, 1, 3, 3), {"group": 16, "pads": [1, 1, 1, 1]})
    conv("depthwise_blocks_even", (16, 2, 3), (16, 1, 2, 2), {"group": 16, "pads": [0, 1, 1, 0]}, bias=False, opset=22)
    conv("depthwise_blocks_wide_pads", (16, 1, 2), (16, 1, 2, 2), {"group": 16, "pads": [2, 1, 0, 2]})
    conv("depthwise_blocks_strided", (16, 4, 3), (16, 1, 3, 3), {"group": 16, "strides": [2, 2], "pads": [1, 1, 1, 1]})
    conv("depthwise_blocks_slack", (16, 4, 5), (16, 1, 2, 3), {"group": 16, "strides": [1, 3], "pads": [0, 0, 0, 0]})
    conv("depthwise_blocks_dilated", (16, 4, 3), (16, 1, 2, 2), {"group": 16, "dilations": [3, 2], "strides": [2, 1]})
    conv("depthwise_blocks_apart", (16, 3, 2), (16, 1, 1, 2), {"group": 16, "strides": [2, 1]})
    conv("depthwise_blocks_line", (16, 5), (16, 1, 3), {"group": 16, "strides": [2], "pads": [1, 1]})
