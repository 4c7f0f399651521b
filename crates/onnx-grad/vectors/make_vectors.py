#!/usr/bin/env python3
"""Makes the golden vectors of this folder: small ONNX models, and what another framework says of them.

Every model stands here twice: as ONNX nodes, and written by hand in JAX, which differentiates the
latter in float64 by its own rules. `cases.json` holds inputs, targets, and JAX's outputs, mean loss
and gradients; `optimizers.json` the parameters after some steps of Optax. The ONNX reference
evaluator must agree with the hand-written forward pass, or this script fails.

    pip install jax optax onnx numpy && python3 make_vectors.py
"""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).parent
ROWS = 6

def mean_loss(loss, z, t):
    """The losses, written for a whole batch; z are logits."""
    if loss == "softmax_cross_entropy":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1))
    if loss == "binary_cross_entropy":
        p = jax.nn.sigmoid(z)
        return -jnp.mean(t * jnp.log(p) + (1 - t) * jnp.log(1 - p))
    d = z - t
    if loss == "mean_squared_error":
        return jnp.mean(d**2)
    if loss == "mean_absolute_error":
        return jnp.mean(jnp.abs(d))
    if loss == "huber":
        return jnp.mean(optax.losses.huber_loss(z, t, delta=0.5))
    raise ValueError(loss)


class Case:
    """One model: nodes as (operator, inputs, output, attributes), and its twin in JAX."""

    def __init__(self, name, params, nodes, function, width=3, opset=17, loss="mean_squared_error", logits=None,
                 constants=()):
        self.name, self.params, self.nodes, self.function = name, params, nodes, function
        self.width, self.opset, self.loss, self.constants = width, opset, loss, constants
        # What the loss is computed from, where the model's output is already a probability.
        self.logits = logits or function

    def model(self):
        nodes = [helper.make_node(op, ins, [out], f"n{i}", **attrs) for i, (op, ins, out, attrs) in enumerate(self.nodes)]
        inits = [numpy_helper.from_array(v, k) for k, v in self.params.items()]
        inits += [numpy_helper.from_array(v, k) for k, v in self.constants]
        y = np.asarray(self.function(self.params, np.ones((ROWS, self.width))))
        graph = helper.make_graph(
            nodes, self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", self.width])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *y.shape[1:]])],
            inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model

    def numbers(self):
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        x = rng.uniform(-1, 1, (ROWS, self.width)).astype(np.float32)
        y = np.asarray(self.function(self.params, x.astype(np.float64)))
        if self.loss == "softmax_cross_entropy":
            t = rng.integers(0, y.shape[1], ROWS)
        elif self.loss == "binary_cross_entropy":
            t = rng.integers(0, 2, y.shape).astype(np.float32)
        else:
            # Away from 0 and from delta, where absolute and Huber loss have their kinks.
            distance = rng.choice([0.2, 0.9], y.shape) + rng.uniform(-0.1, 0.1, y.shape)
            t = (y + distance * rng.choice([-1, 1], y.shape)).astype(np.float32)
        return x, t, y


def glorot(rng, *shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def build_cases():
    rng = np.random.default_rng(20130301)
    p = lambda *shape: glorot(rng, *shape)
    cases = []
    add = lambda *args, **kwargs: cases.append(Case(*args, **kwargs))

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
    def classifier(name, loss, outputs, last=None, attrs=None, squash=None):
        params = {"w": p(3, outputs), "b": p(outputs)}
        logits = lambda q, x: x @ q["w"] + q["b"]
        nodes = [("Gemm", ["x", "w", "b"], "z" if last else "y", {})]
        nodes += [(last, ["z"], "y", attrs or {})] if last else []
        function = (lambda q, x: squash(logits(q, x))) if last else logits
        add(name, params, nodes, function, loss=loss, logits=logits)
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
    return cases


def numbers(array):
    return [float(f"{number:.9g}") for number in np.asarray(array, np.float64).ravel()]


def write_cases(cases):
    written = []
    for case in cases:
        model = case.model()
        onnx.save(model, HERE / f"{case.name}.onnx")
        x, t, y = case.numbers()
        reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
        np.testing.assert_allclose(reference, y, rtol=1e-4, atol=1e-5, err_msg=case.name)
        params = {k: jnp.asarray(v, jnp.float64) for k, v in case.params.items()}
        loss, gradients = jax.value_and_grad(lambda q: mean_loss(case.loss, case.logits(q, x.astype(np.float64)), t))(params)
        written.append({
            "name": case.name, "loss": case.loss, "rows": ROWS,
            "inputs": numbers(x), "targets": numbers(t), "outputs": numbers(case.logits(params, x.astype(np.float64))),
            "expected_loss": float(loss), "gradients": [numbers(gradients[k]) for k in case.params],
        })
    text = "[\n" + ",\n".join(json.dumps(case) for case in written) + "\n]\n"
    (HERE / "cases.json").write_text(text)
    print(len(written), "cases")


def write_optimizers(case):
    """Five full-batch steps on one model, by Optax; penalties are differentiated as part of the loss."""
    x, t, _ = case.numbers()
    start = {k: jnp.asarray(v, jnp.float64) for k, v in case.params.items()}
    written = []
    for settings in [
        dict(optimizer="sgd", momentum=0.0, weight_decay=0.0, proximal=0.0),
        dict(optimizer="sgd", momentum=0.9, weight_decay=0.01, proximal=0.0),
        dict(optimizer="sgd", momentum=0.0, weight_decay=0.1, proximal=0.5),
        dict(optimizer="adam", momentum=0.0, weight_decay=0.0, proximal=0.0),
        dict(optimizer="adam", momentum=0.0, weight_decay=0.1, proximal=0.5),
    ]:
        rate = 0.1

        def objective(q):
            total = mean_loss(case.loss, case.logits(q, x.astype(np.float64)), t)
            for k in q:
                total += settings["weight_decay"] / 2 * jnp.sum(q[k] ** 2)
                total += settings["proximal"] / 2 * jnp.sum((q[k] - start[k]) ** 2)
            return total

        if settings["optimizer"] == "sgd":
            optimizer = optax.sgd(rate, momentum=settings["momentum"] or None)
        else:
            optimizer = optax.adam(rate, b1=0.8, b2=0.99, eps=1e-6)
        params, state = start, optimizer.init(start)
        for _ in range(5):
            updates, state = optimizer.update(jax.grad(objective)(params), state, params)
            params = optax.apply_updates(params, updates)
        written.append({**settings, "learning_rate": rate, "steps": 5,
                        "parameters": [numbers(params[k]) for k in case.params]})
    (HERE / "optimizers.json").write_text(json.dumps({"case": case.name, "runs": written}, indent=1) + "\n")


def main():
    cases = build_cases()
    write_cases(cases)
    write_optimizers(next(case for case in cases if case.name == "loss_softmax"))


main()
