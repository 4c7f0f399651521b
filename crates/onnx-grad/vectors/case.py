"""One model of the golden vectors: as ONNX nodes, and written by hand in JAX."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

ROWS = 6
# Step and tolerance of the central differences in float64 that JAX's own gradients are held against.
STEP, TOLERANCE = 1e-5, 1e-6
# The same for the float32 differences that the Rust tests take, with room for their rounding.
COARSE_STEP, COARSE_TOLERANCE = 1e-2, 1.5e-3
# How often inputs are drawn before a case is given up.
DRAWS_MAX = 50


def mean_loss(loss, z, t, weights=None):
    """The losses, written for a whole batch; z are logits. Weighted as PyTorch does it: by the sum of the weights."""
    each = example_losses(loss, z, t)
    each = each.reshape(len(each), -1).mean(axis=1)
    return jnp.mean(each) if weights is None else jnp.sum(weights * each) / jnp.sum(weights)


def example_losses(loss, z, t):
    if loss == "softmax_cross_entropy":
        return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1)
    if loss == "binary_cross_entropy":
        p = jax.nn.sigmoid(z)
        return -(t * jnp.log(p) + (1 - t) * jnp.log(1 - p))
    d = z - t
    if loss == "mean_squared_error":
        return d**2
    if loss == "mean_absolute_error":
        return jnp.abs(d)
    if loss == "huber":
        return optax.losses.huber_loss(z, t, delta=0.5)
    raise ValueError(loss)


class Case:
    """Nodes as (operator, inputs, output or outputs, attributes), and their twin `function(q, x, ...)`.

    `params` become initialisers that are trained, `constants` such that are not (scalars and integers).
    `dims` are the dimensions of one example at the input x, which is drawn from -1 to 1; `indices` adds
    int64 inputs by name, as (dimensions, number of values). `training` is the twin where training
    computes something else; `statistics` gives what a step makes of running statistics, which are
    among the params. `random` cases draw numbers that JAX does not have: only their outputs are golden.
    Without `reference` the ONNX reference evaluator is not asked, as it lacks what the case is about.
    `kinks` are cases at points without a derivative, where the twin has the slope that is wanted.
    `weights` says what each row counts, `class_weights` what each class does. `outputs` come before y, each with
    the dimensions of one example; `options` say how the model is taken, where frozen ones are names.
    """

    def __init__(self, name, params, nodes, function, width=3, dims=None, indices=(), opset=17,
                 loss="mean_squared_error", logits=None, constants=(), training=None, statistics=(), random=False,
                 reference=True, kinks=False, weights=None, class_weights=None,
                 outputs=(), options=()):
        self.name, self.params, self.nodes, self.function = name, params, nodes, function
        self.dims, self.indices, self.opset, self.loss = dims or (width,), dict(indices), opset, loss
        self.constants, self.statistics, self.random = constants, dict(statistics), random
        self.reference, self.kinks = reference, kinks
        self.weights, self.class_weights = weights, class_weights
        self.outputs, self.options = dict(outputs), dict(options)
        self.draw = 0
        # What the loss is computed from, where the model's output is already a probability.
        self.logits = logits or function
        self.training = training or self.logits

    def model(self):
        nodes = [helper.make_node(op, ins, [out] if isinstance(out, str) else out, f"n{i}", **attrs)
                 for i, (op, ins, out, attrs) in enumerate(self.nodes)]
        inits = [numpy_helper.from_array(np.asarray(v), k) for k, v in self.params.items()]
        inits += [numpy_helper.from_array(np.asarray(v), k) for k, v in self.constants]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *self.dims])]
        inputs += [helper.make_tensor_value_info(k, TensorProto.INT64, ["batch", *dims])
                   for k, (dims, _) in self.indices.items()]
        y = np.asarray(self.function(self.params, *self.inputs()))
        outputs = {**self.outputs, "y": y.shape[1:]}
        outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["batch", *dims]) for k, dims in outputs.items()]
        graph = helper.make_graph(nodes, self.name, inputs, outputs, inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        if self.reference:
            onnx.checker.check_model(model, full_check=True)
        return model

    def random_numbers(self):
        return np.random.default_rng(zlib.crc32(self.name.encode()) + (self.draw << 32))

    def inputs(self):
        rng = self.random_numbers()
        x = rng.uniform(-1, 1, (ROWS, *self.dims)).astype(np.float32)
        return [x, *(rng.integers(0, high, (ROWS, *dims)) for dims, high in self.indices.values())]

    def targets(self, y):
        rng = np.random.default_rng(zlib.crc32(self.name.encode()) + 1)
        if self.loss == "softmax_cross_entropy":
            return rng.integers(0, y.shape[1], ROWS)
        if self.loss == "binary_cross_entropy":
            return rng.integers(0, 2, y.shape).astype(np.float32)
        # Away from 0 and from delta, where absolute and Huber loss have their kinks.
        distance = rng.choice([0.2, 0.9], y.shape) + rng.uniform(-0.1, 0.1, y.shape)
        return (y + distance * rng.choice([-1, 1], y.shape)).astype(np.float32)

    def example_weights(self, t):
        """What each row counts; none where all count the same."""
        if self.weights is None and self.class_weights is None:
            return None
        own = np.ones(ROWS) if self.weights is None else np.asarray(self.weights)
        classes = np.asarray(t).reshape(-1).astype(int)
        return own if self.class_weights is None else own * np.asarray(self.class_weights)[classes]

    def precise(self):
        """Inputs and parameters in float64, where they are floats."""
        wide = lambda v: jnp.asarray(v, jnp.float64) if np.asarray(v).dtype == np.float32 else jnp.asarray(v)
        return [wide(v) for v in self.inputs()], {k: wide(v) for k, v in self.params.items()}

    def write(self, folder):
        """Writes the model; returns its line of cases.json."""
        model = self.model()
        onnx.save(model, folder / f"{self.name}.onnx")
        # Inputs are drawn anew while a kink lies within a step of the Rust tests.
        while (line := self.line(model)) is None:
            self.draw += 1
            assert self.draw < DRAWS_MAX, f"{self.name}: its differences are no gradients"
        return line

    def line(self, model):
        """What is golden of these inputs; none where differences of the coarse step do not tell the gradient."""
        inputs, params = self.precise()
        y = np.asarray(self.function(params, *inputs))
        t = self.targets(y)
        names = ["x", *self.indices]
        feed = dict(zip(names, self.inputs()))
        if self.reference:
            reference = ReferenceEvaluator(model).run(["y"], feed)[0]
            np.testing.assert_allclose(reference, y, rtol=1e-4, atol=1e-5, err_msg=self.name)
        line = {
            "name": self.name, "loss": self.loss, "rows": ROWS,
            "inputs": [numbers(v) for v in self.inputs()], "targets": numbers(t),
            "outputs": numbers(self.logits(params, *inputs)),
        }
        if self.random:
            return line
        frozen = self.options.get("frozen", ())
        learned = {k: v for k, v in params.items() if k not in self.statistics and k not in frozen}
        weights = self.example_weights(t)
        objective = lambda q: mean_loss(self.loss, self.training({**params, **q}, *inputs), t, weights)
        gradients = jax.grad(objective)(learned)
        # What is reported counts every row once.
        loss = mean_loss(self.loss, self.training(params, *inputs), t)
        line |= {k: v for k in ["weights", "class_weights"] if (v := getattr(self, k)) is not None}
        line |= {"options": self.options} if self.options else {}
        if self.kinks:
            line["kinks"] = True
        else:
            if largest_error(objective, learned, gradients, COARSE_STEP)[0] > COARSE_TOLERANCE:
                return None
            error, where = largest_error(objective, learned, gradients, STEP)
            assert error <= TOLERANCE, f"{self.name}: {where}"
        line |= {"expected_loss": float(loss), "gradients": {k: numbers(v) for k, v in gradients.items()}}
        if self.statistics:
            line["statistics"] = {k: numbers(f(params, *inputs)) for k, f in self.statistics.items()}
        return line


def largest_error(objective, params, gradients, step):
    """By how much a central difference is off, for each 1 + |difference|, and where."""
    objective = jax.jit(objective)
    errors = [(0.0, "")]
    for key, value in params.items():
        for at in np.ndindex(value.shape):
            ahead, behind = (objective({**params, key: value.at[at].add(by)}) for by in (step, -step))
            difference = (ahead - behind) / (2 * step)
            error = abs(difference - gradients[key][at]) / (1 + abs(difference))
            errors.append((float(error), f"{key}{list(at)}: {difference} by differences"))
    return max(errors)


def numbers(array):
    return [float(f"{number:.9g}") for number in np.asarray(array, np.float64).ravel()]


def write_family(folder, cases):
    """Writes a family's models and cases.json, and removes models that it has no more."""
    folder.mkdir(exist_ok=True)
    for model in folder.glob("*.onnx"):
        model.unlink()
    lines = [json.dumps(case.write(folder)) for case in cases]
    (folder / "cases.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(folder.name, len(lines), "cases")
