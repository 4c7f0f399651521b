"""Resize, as PyTorch and TensorFlow export it: by scales or to sizes, nearest or linear."""

import jax
import jax.numpy as jnp
import numpy as np


def floats(name, *values):
    return name, np.array(values, np.float32)


def linear(h, size, align, axis):
    """Reading between two elements along an axis, written with interp."""
    n = h.shape[axis]
    at = jnp.linspace(0, n - 1, size) if align else (jnp.arange(size) + 0.5) * n / size - 0.5
    return jnp.apply_along_axis(lambda line: jnp.interp(at, jnp.arange(n), line), axis, h)


def build(add, p):
    def resize(name, function, dims, after, names, constants, opset=13, reference=True, **attrs):
        """x·w is resized, and the result times v."""
        add(name, {"w": p(*dims), "v": p(*after)},
            [("Mul", ["x", "w"], "h", {}), ("Resize", ["h", *names], "o", attrs), ("Mul", ["o", "v"], "y", {})],
            lambda q, x: function(jnp.asarray(x * q["w"])) * q["v"], dims=dims, constants=constants, opset=opset,
            reference=reference)
    by, to = ["", "s"], ["", "", "s"]
    scales = lambda *values: [floats("s", *values)]
    sizes = lambda *values: [("s", np.array(values, np.int64))]
    twice = lambda h: jnp.repeat(jnp.repeat(h, 2, 2), 3, 3)

    # Whole factors: PyTorch's Upsample, and Keras's UpSampling2D.
    resize("nearest_whole", twice, (1, 2, 2), (1, 4, 6), by, scales(1, 1, 2, 3), mode="nearest",
           coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    resize("nearest_whole_half_pixel", twice, (1, 2, 2), (1, 4, 6), by, scales(1, 1, 2, 3), opset=19, mode="nearest",
           coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")
    resize("nearest_whole_line", lambda h: jnp.repeat(h, 3, 2), (2, 2), (1, 6), by, scales(1, 1, 3), mode="nearest",
           coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    resize("nearest_axes", twice, (1, 2, 2), (1, 4, 6), by, scales(3, 2), opset=18, mode="nearest", axes=[3, 2],
           coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    # Empty lists for what is left out, and the batch among the sizes.
    add("nearest_exported", {"w": p(1, 2, 2), "v": p(1, 4, 4)},
        [("Mul", ["x", "w"], "h", {}), ("Shape", ["h"], "shape", {}), ("Slice", ["shape", "zero", "two"], "outer", {}),
         ("Concat", ["outer", "inner"], "s", {"axis": 0}),
         ("Resize", ["h", "none", "none", "s"], "o", {"mode": "nearest", "nearest_mode": "floor",
                                                     "coordinate_transformation_mode": "asymmetric"}),
         ("Mul", ["o", "v"], "y", {})],
        lambda q, x: jnp.repeat(jnp.repeat(x * q["w"], 2, 2), 2, 3) * q["v"], dims=(1, 2, 2), reference=False,
        constants=[("none", np.zeros(0, np.float32)), ("zero", np.array([0])), ("two", np.array([2])), ("inner", np.array([4, 4]))])

    # Rounding: where each output element is read, written out.
    def rounding(name, mode, coordinates, size, at, opset=13, by_scale=None, reference=True, n=4):
        resize(name, lambda h: h[:, :, :, jnp.array(at)], (1, 1, n), (1, 1, size), by if by_scale else to,
               scales(1, 1, 1, by_scale) if by_scale else [("s", np.array([6, 1, 1, size]))], opset=opset, mode="nearest",
               nearest_mode=mode, coordinate_transformation_mode=coordinates, reference=reference)
    whole = lambda name, mode, coordinates, scale, at, **kwargs: rounding(
        name, mode, coordinates, len(at), at, by_scale=scale, **kwargs)
    whole("nearest_floor", "floor", "asymmetric", 1.5, [0, 0, 1, 2, 2, 3])
    whole("nearest_ceil", "ceil", "asymmetric", 1.5, [0, 1, 2, 2, 3, 3])
    whole("nearest_prefer_floor", "round_prefer_floor", "half_pixel", 0.5, [0, 2])
    whole("nearest_prefer_ceil", "round_prefer_ceil", "half_pixel", 0.5, [1, 3])
    whole("nearest_align_corners", "round_prefer_floor", "align_corners", 1.75, [0, 0, 1, 1, 2, 2, 3])
    whole("nearest_pytorch", "floor", "pytorch_half_pixel", 0.25, [0])
    whole("nearest_symmetric", "round_prefer_floor", "half_pixel_symmetric", 0.6, [1, 2], opset=19)

    # Linear
    both = lambda high, wide, align=False: lambda h: linear(linear(h, high, align, 2), wide, align, 3)
    resize("linear", both(4, 6), (2, 2, 3), (1, 4, 6), by, scales(1, 1, 2, 2), mode="linear",
           coordinate_transformation_mode="half_pixel")
    resize("linear_pytorch", lambda h: jax.image.resize(h, (len(h), 1, 5, 4), "linear", antialias=False), (1, 3, 2), (1, 5, 4),
           by, scales(1, 1, 5 / 3 + 1e-6, 2), opset=17, mode="linear", coordinate_transformation_mode="pytorch_half_pixel",
           reference=False)
    resize("linear_align_corners", both(5, 3, True), (1, 3, 5), (1, 5, 3), by, scales(1, 1, 5 / 3 + 1e-6, 0.6 + 1e-6),
           opset=18, mode="linear", coordinate_transformation_mode="align_corners")
    resize("linear_line", lambda h: linear(h, 6, False, 2), (2, 3), (1, 6), by, scales(1, 1, 2), mode="linear",
           coordinate_transformation_mode="half_pixel")
    resize("linear_asymmetric", lambda h: linear_from_start(h, 6), (1, 1, 3), (1, 1, 6), by, scales(1, 1, 1, 2), mode="linear",
           coordinate_transformation_mode="asymmetric")


def linear_from_start(h, size):
    n = h.shape[3]
    at = jnp.arange(size) * n / size
    return jnp.apply_along_axis(lambda line: jnp.interp(at, jnp.arange(n), line), 3, h)
