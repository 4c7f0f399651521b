"""Dense models: products, arithmetic, first activations, reshaping, losses."""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto, numpy_helper


def build(add, p):
    # Products
    add("gemm", {"w": p(4, 3), "b": p(4)}, [("Gemm", ["x", "w", "b"], "y", {"transB": 1})],
        lambda q, x: x @ q["w"].T + q["b"])
    add("gemm_scaled", {"w": p(3, 4), "b": p(1, 4)},
        [("Transpose", ["x"], "xt", {}), ("Gemm", ["xt", "w", "b"], "y", {"transA": 1, "alpha": 0.5, "beta": 2.0})],
        lambda q, x: 0.5 * x @ q["w"] + 2 * q["b"])
    add("gemm_both_transposed", {"w": p(4, 3), "b": p(1)},
        [("Transpose", ["x"], "xt", {"perm": [1, 0]}),
         ("Gemm", ["xt", "w", "b"], "y", {"transA": 1, "transB": 1, "alpha": -1.5})],
        lambda q, x: -1.5 * x @ q["w"].T + q["b"])
    add("gemm_weight_first", {"w": p(4, 3), "v": p(4, 5), "b": p(4, 1)},
        [("Gemm", ["w", "x", "b"], "h", {"transB": 1}), ("Gemm", ["v", "h"], "g", {"transA": 1}),
         ("Transpose", ["g"], "y", {})],
        lambda q, x: (q["v"].T @ (q["w"] @ x.T + q["b"])).T)
    add("matmul", {"w": p(3, 4)}, [("MatMul", ["x", "w"], "y", {})], lambda q, x: x @ q["w"])
    shape = lambda name, *dims: (name, np.array(dims, np.int64))
    add("matmul_stack", {"w": p(3, 4)},
        [("Reshape", ["x", "s"], "h", {}), ("MatMul", ["h", "w"], "y", {})],
        lambda q, x: x.reshape(-1, 2, 3) @ q["w"], width=6, constants=[shape("s", -1, 2, 3)])
    add("matmul_broadcast", {"w": p(2, 3, 4), "v": p(1, 5, 2)},
        [("Reshape", ["x", "s"], "h", {}), ("MatMul", ["h", "w"], "g", {}), ("MatMul", ["v", "g"], "y", {})],
        lambda q, x: q["v"] @ (x.reshape(-1, 1, 2, 3) @ q["w"]), width=6, constants=[shape("s", -1, 1, 2, 3)])
    add("matmul_weight_first", {"w": p(4, 2)},
        [("Reshape", ["x", "s"], "h", {}), ("MatMul", ["w", "h"], "y", {})],
        lambda q, x: q["w"] @ x.reshape(-1, 2, 3), width=6, constants=[shape("s", -1, 2, 3)])
    add("matmul_vector_right", {"w": p(3)}, [("MatMul", ["x", "w"], "y", {})], lambda q, x: x @ q["w"])
    add("matmul_vector_left", {"w": p(2)},
        [("Reshape", ["x", "s"], "h", {}), ("MatMul", ["w", "h"], "y", {})],
        lambda q, x: q["w"] @ x.reshape(-1, 2, 3), width=6, constants=[shape("s", -1, 2, 3)])

    # Arithmetic with broadcasting, parameters on either side
    rows = [("Reshape", ["x", "s"], "h", {})]
    column = [shape("s", -1, 3, 1)]
    for op, f in [("Add", jnp.add), ("Sub", jnp.subtract), ("Mul", jnp.multiply), ("Div", jnp.divide)]:
        name = op.lower()
        far = lambda value: (np.sign(value) * (0.5 + np.abs(value))).astype(np.float32)
        add(f"{name}_row", {"w": far(p(3)), "v": far(p(1))}, [(op, ["x", "w"], "h", {}), (op, ["h", "v"], "y", {})],
            lambda q, x, f=f: f(f(x, q["w"]), q["v"]))
        add(f"{name}_outer", {"w": far(p(1, 1, 4))}, rows + [(op, ["h", "w"], "y", {})],
            lambda q, x, f=f: f(x.reshape(-1, 3, 1), q["w"]), constants=column)
        # x·x + 1 is far enough from 0 to divide by.
        add(f"{name}_parameter_first", {"w": p(1, 3), "u": far(p(3))},
            [("Mul", ["x", "x"], "xx", {}), ("Add", ["xx", "one"], "d", {}), (op, ["u", "d"], "h", {}),
             (op, ["w", "h"], "g", {}), ("Mul", ["g", "u"], "y", {})],
            lambda q, x, f=f: f(q["w"], f(q["u"], x * x + 1)) * q["u"], constants=[("one", np.float32(1))])

    # Activations behind a trained shift and before a trained scale
    def activation(name, op, function, attrs=None, opset=17):
        params = {"b": p(3), "w": p(3)}
        add(name, params, [("Add", ["x", "b"], "h", {}), (op, ["h"], "a", attrs or {}), ("Mul", ["a", "w"], "y", {})],
            lambda q, x: function(x + q["b"]) * q["w"], opset=opset)
    activation("relu", "Relu", jax.nn.relu, opset=13)
    activation("leaky_relu", "LeakyRelu", lambda h: jax.nn.leaky_relu(h, 0.01))
    activation("leaky_relu_steep", "LeakyRelu", lambda h: jax.nn.leaky_relu(h, 0.3), {"alpha": 0.3})
    activation("sigmoid", "Sigmoid", jax.nn.sigmoid, opset=22)
    activation("tanh", "Tanh", jnp.tanh)
    activation("erf", "Erf", jax.scipy.special.erf)
    activation("gelu", "Gelu", lambda h: jax.nn.gelu(h, approximate=False), opset=20)
    activation("gelu_tanh", "Gelu", lambda h: jax.nn.gelu(h, approximate=True), {"approximate": "tanh"}, opset=20)
    activation("softmax", "Softmax", lambda h: jax.nn.softmax(h, axis=-1))
    activation("log_softmax", "LogSoftmax", lambda h: jax.nn.log_softmax(h, axis=-1))
    activation("identity", "Identity", lambda h: h, opset=13)
    for name, op, function in [("softmax_inner_axis", "Softmax", jax.nn.softmax),
                               ("log_softmax_inner_axis", "LogSoftmax", jax.nn.log_softmax)]:
        add(name, {"b": p(2, 3), "w": p(2, 3)},
            [("Reshape", ["x", "s"], "r", {}), ("Add", ["r", "b"], "h", {}), (op, ["h"], "a", {"axis": 1}),
             ("Mul", ["a", "w"], "y", {})],
            lambda q, x, f=function: f(x.reshape(-1, 2, 3) + q["b"], axis=1) * q["w"],
            width=6, constants=[shape("s", -1, 2, 3)])

    # Shapes
    add("reshape", {"b": p(6), "w": p(3, 2), "v": p(2, 3)},
        [("Add", ["x", "b"], "h", {}), ("Reshape", ["h", "s"], "r", {}), ("Mul", ["r", "w"], "m", {}),
         ("Reshape", ["m", "t"], "f", {}), ("Reshape", ["v", "u"], "vf", {}), ("Mul", ["f", "vf"], "y", {})],
        lambda q, x: ((x + q["b"]).reshape(-1, 3, 2) * q["w"]).reshape(-1, 6) * q["v"].reshape(6),
        width=6, opset=13, constants=[shape("s", 0, 3, -1), shape("t", -1, 6), shape("u", -1)])
    add("reshape_into_batch", {"b": p(6), "w": p(3, 4)},
        [("Add", ["x", "b"], "h", {}), ("Reshape", ["h", "s"], "r", {}), ("Gemm", ["r", "w"], "g", {}),
         ("Reshape", ["g", "t"], "y", {})],
        lambda q, x: ((x + q["b"]).reshape(-1, 3) @ q["w"]).reshape(-1, 8),
        width=6, constants=[shape("s", -1, 3), shape("t", -1, 8)])
    add("flatten", {"b": p(6), "w": p(2, 3, 1)},
        [("Add", ["x", "b"], "h", {}), ("Reshape", ["h", "s"], "r", {}), ("Mul", ["r", "w"], "m", {}),
         ("Flatten", ["m"], "y", {})],
        lambda q, x: ((x + q["b"]).reshape(-1, 2, 3, 1) * q["w"]).reshape(-1, 6),
        width=6, constants=[shape("s", -1, 2, 3, 1)])
    add("flatten_axis", {"w": p(3, 2)},
        [("Reshape", ["x", "s"], "r", {}), ("Flatten", ["r"], "f", {"axis": -1}), ("MatMul", ["f", "w"], "g", {}),
         ("Reshape", ["g", "t"], "y", {})],
        lambda q, x: (x.reshape(-1, 3) @ q["w"]).reshape(-1, 2, 2),
        width=6, constants=[shape("s", -1, 2, 3), shape("t", -1, 2, 2)])
    add("transpose", {"w": p(4, 3), "v": p(3, 2, 4)},
        [("Reshape", ["x", "s"], "r", {}), ("Transpose", ["w"], "wt", {}), ("Mul", ["r", "wt"], "h", {}),
         ("Transpose", ["v"], "vt", {"perm": [1, 0, 2]}), ("Mul", ["h", "vt"], "m", {}),
         ("Transpose", ["m"], "y", {"perm": [0, 3, 1, 2]})],
        lambda q, x: jnp.transpose(x.reshape(-1, 1, 3, 4) * q["w"].T * jnp.transpose(q["v"], (1, 0, 2)), (0, 3, 1, 2)),
        width=12, constants=[shape("s", -1, 1, 3, 4)])

    # Constants and types
    add("constant", {"w": p(3)},
        [("Constant", [], "half", {"value_float": 0.5}), ("Constant", [], "row", {"value_floats": [1.0, -2.0, 3.0]}),
         ("Constant", [], "tensor", {"value": numpy_helper.from_array(np.float32([[2.0]]))}),
         ("Constant", [], "s", {"value_ints": [-1, 3]}), ("Mul", ["w", "half"], "h", {}),
         ("Mul", ["x", "h"], "m", {}), ("Add", ["m", "row"], "a", {}), ("Mul", ["a", "tensor"], "c", {}),
         ("Reshape", ["c", "s"], "y", {})],
        lambda q, x: (x * q["w"] * 0.5 + jnp.array([1.0, -2.0, 3.0])) * 2)
    add("cast", {"b": p(3), "w": p(3)},
        [("Add", ["x", "b"], "h", {}), ("Cast", ["h"], "d", {"to": TensorProto.DOUBLE}),
         ("Cast", ["d"], "f", {"to": TensorProto.FLOAT}), ("Mul", ["f", "w"], "m", {}),
         ("Mul", ["x", "three"], "x3", {}), ("Cast", ["x3"], "i", {"to": TensorProto.INT64}),
         ("Cast", ["i"], "if", {"to": TensorProto.FLOAT}), ("Add", ["m", "if"], "y", {})],
        lambda q, x: (x + q["b"]) * q["w"] + jnp.trunc(x * 3), constants=[("three", np.float32(3))])
    add("shared_parameter", {"w": p(3, 3)},
        [("Gemm", ["x", "w"], "h", {}), ("Tanh", ["h"], "t", {}), ("Gemm", ["t", "w"], "g", {"transB": 1}),
         ("Add", ["g", "w_row"], "y", {})],
        lambda q, x: jnp.tanh(x @ q["w"]) @ q["w"].T + 1, constants=[("w_row", np.float32(1))])

    # Losses, on logits and behind the node that they contain
    def classifier(name, loss, outputs, last=None, attrs=None, squash=None, **weights):
        params = {"w": p(3, outputs), "b": p(outputs)}
        logits = lambda q, x: x @ q["w"] + q["b"]
        nodes = [("Gemm", ["x", "w", "b"], "z" if last else "y", {})]
        nodes += [(last, ["z"], "y", attrs or {})] if last else []
        function = (lambda q, x: squash(logits(q, x))) if last else logits
        add(name, params, nodes, function, loss=loss, logits=logits, **weights)
    classifier("loss_softmax", "softmax_cross_entropy", 4)
    classifier("loss_softmax_after_softmax", "softmax_cross_entropy", 4, "Softmax", {"axis": 1}, jax.nn.softmax)
    classifier("loss_softmax_after_log_softmax", "softmax_cross_entropy", 4, "LogSoftmax", {}, jax.nn.log_softmax)
    classifier("loss_binary", "binary_cross_entropy", 1)
    classifier("loss_binary_after_sigmoid", "binary_cross_entropy", 1, "Sigmoid", {}, jax.nn.sigmoid)
    classifier("loss_squared", "mean_squared_error", 2)
    classifier("loss_absolute", "mean_absolute_error", 2)
    classifier("loss_huber", "huber", 2)
    add("loss_binary_vector", {"w": p(3)}, [("MatMul", ["x", "w"], "y", {})], lambda q, x: x @ q["w"],
        loss="binary_cross_entropy")
    rows = [1.5, 0, 0.25, 3, 1, 0.5]
    classifier("loss_softmax_weighted", "softmax_cross_entropy", 4, weights=rows, class_weights=[0.5, 2, 0, 1.25])
    classifier("loss_softmax_by_class", "softmax_cross_entropy", 4, "Softmax", {"axis": 1}, jax.nn.softmax,
               class_weights=[3, 0.5, 1, 0.25])
    classifier("loss_binary_weighted", "binary_cross_entropy", 1, weights=rows)
    classifier("loss_binary_by_class", "binary_cross_entropy", 1, class_weights=[0.2, 4])
    classifier("loss_squared_weighted", "mean_squared_error", 2, weights=rows)
    classifier("loss_absolute_weighted", "mean_absolute_error", 2, weights=rows)
    classifier("loss_huber_weighted", "huber", 2, weights=rows)
    add("loss_binary_vector_weighted", {"w": p(3)}, [("MatMul", ["x", "w"], "y", {})], lambda q, x: x @ q["w"],
        loss="binary_cross_entropy", weights=rows)
