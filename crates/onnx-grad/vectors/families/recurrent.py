"""Recurrent layers: LSTM, GRU and RNN, in all directions, with initial states and lengths."""

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

STEPS, WIDTH, HIDDEN = 3, 2, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
NAMES = ["Y", "Y_h", "Y_c"]


def lstm(x, h, c, w, r, wb, rb, _):
    i, o, f, g = jnp.split(x @ w.T + h @ r.T + wb + rb, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(x, h, c, w, r, wb, rb, options):
    wz, wr, wn = jnp.split(x @ w.T + wb, 3, axis=1)
    rz, rr, rn = jnp.split(r, 3)
    bz, br, bn = jnp.split(rb, 3)
    z, reset = jax.nn.sigmoid(wz + h @ rz.T + bz), jax.nn.sigmoid(wr + h @ rr.T + br)
    if options.get("linear_before_reset"):
        n = jnp.tanh(wn + reset * (h @ rn.T + bn))
    else:
        n = jnp.tanh(wn + (reset * h) @ rn.T + bn)
    return (1 - z) * n + z * h, c


def rnn(x, h, c, w, r, wb, rb, options):
    f = jax.nn.relu if options.get("activation") == "Relu" else jnp.tanh
    return f(x @ w.T + h @ r.T + wb + rb), c


STEP = {"LSTM": lstm, "GRU": gru, "RNN": rnn}


def layer(op, x, q, h0, c0, lens, directions, options):
    """Y [N, T, D, H] and the last states [N, D, H] of x [N, T, I]."""
    outputs = []
    for d, reverse in enumerate(directions):
        bias = q["b"][d] if "b" in q else jnp.zeros(2 * len(q["w"][d]))
        wb, rb = jnp.split(bias, 2)
        own = {**options, "activation": options.get("activations", ["Tanh"] * 2)[d]}
        h, c, y = h0[:, d], c0[:, d], [None] * x.shape[1]
        for t in reversed(range(len(y))) if reverse else range(len(y)):
            inside = (t < lens)[:, None]
            new_h, new_c = STEP[op](x[:, t], h, c, q["w"][d], q["r"][d], wb, rb, own)
            h, c = jnp.where(inside, new_h, h), jnp.where(inside, new_c, c)
            y[t] = jnp.where(inside, new_h, 0)
        any_step = (lens > 0)[:, None]
        outputs.append((jnp.stack(y, axis=1), jnp.where(any_step, h, 0), jnp.where(any_step, c, 0)))
    y, h, c = zip(*outputs)
    return jnp.stack(y, axis=2), jnp.stack(h, axis=1), jnp.stack(c, axis=1)


def build(add, p):
    shape = lambda name, *dims: (name, np.array(dims, np.int64))

    def case(name, op, direction="forward", outputs=("Y",), initial=(), lens=False, bias=True, made=False, steps=STEPS,
             opset=17, **options):
        """A layer behind a trained shift and before trained scales, which learns its initial states from x."""
        directions = DIRECTIONS[direction]
        count, gates = len(directions), GATES[op]
        params = {"shift": p(WIDTH), "w": p(count, gates * HIDDEN, WIDTH), "r": p(count, gates * HIDDEN, HIDDEN)}
        params |= {"b": p(count, 2 * gates * HIDDEN)} if bias else {}
        params |= {f"v_{out}": p(1, count, HIDDEN) for out in outputs}
        params |= {f"i_{state}": p(steps * WIDTH, count * HIDDEN) for state in initial}
        constants = [shape("flat", -1, steps * WIDTH), shape("states", -1, count, HIDDEN),
                     shape("last", -1, 1, count, HIDDEN), ("two", np.float32(2))]
        nodes = [("Add", ["x", "shift"], "s", {}), ("Transpose", ["s"], "X", {"perm": [1, 0, 2]})]
        weights = ["w", "r", "b" if bias else ""]
        if made:
            nodes += [("Mul", [weight, "two"], f"{weight}2", {}) for weight in weights]
            weights = [f"{weight}2" for weight in weights]
        nodes += [("Cast", ["lens"], "lens32", {"to": TensorProto.INT32})] if lens else []
        for state in initial:
            nodes += [("Reshape", ["s", "flat"], f"{state}_s", {}), ("Gemm", [f"{state}_s", f"i_{state}"], f"{state}_g", {}),
                      ("Reshape", [f"{state}_g", "states"], f"{state}_r", {}),
                      ("Transpose", [f"{state}_r"], state, {"perm": [1, 0, 2]})]
        inputs = ["X", *weights, "lens32" if lens else "", *(state if state in initial else "" for state in "hc")]
        while not inputs[-1]:
            inputs.pop()
        made_outputs = [out if out in outputs else "" for out in NAMES[:2 + (op == "LSTM")]]
        attrs = {"hidden_size": HIDDEN, "direction": direction, **options}
        nodes += [(op, inputs, made_outputs, attrs)]
        for out in outputs:
            if out == "Y":
                nodes += [("Transpose", ["Y"], "Y_n", {"perm": [2, 0, 1, 3]})]
            else:
                nodes += [("Transpose", [out], f"{out}_t", {"perm": [1, 0, 2]}), ("Reshape", [f"{out}_t", "last"], f"{out}_n", {})]
            nodes += [("Mul", [f"{out}_n", f"v_{out}"], f"{out}_v", {})]
        total = f"{outputs[0]}_v"
        for out in outputs[1:]:
            nodes += [("Add", [total, f"{out}_v"], f"{out}_sum", {})]
            total = f"{out}_sum"
        nodes += [("Identity", [total], "y", {})]

        def function(q, x, lengths=None):
            x = x + q["shift"]
            state = lambda name: (x.reshape(len(x), -1) @ q[f"i_{name}"] if name in initial else jnp.zeros((len(x), count * HIDDEN))
                                  ).reshape(-1, count, HIDDEN)
            lengths = jnp.full(len(x), steps) if lengths is None else lengths
            own = {k: v * (2 if made else 1) for k, v in q.items() if k in ("w", "r", "b")}
            y, h, c = layer(op, x, own, state("h"), state("c"), lengths, directions, options)
            found = dict(zip(NAMES, [y, h[:, None], c[:, None]]))
            return sum(found[out] * q[f"v_{out}"] for out in outputs)

        # The reference evaluator does not know lengths, nor other activations.
        add(name, params, nodes, function, dims=(steps, WIDTH), indices={"lens": ((), steps + 1)} if lens else {},
            opset=opset, constants=constants, reference=not lens and "activations" not in options)

    for op in GATES:
        name = op.lower()
        states = "hc" if op == "LSTM" else "h"
        outputs = NAMES[:1 + len(states)]
        case(name, op, opset=13)
        case(f"{name}_reverse", op, "reverse", opset=14)
        case(f"{name}_all", op, "bidirectional", outputs, states, opset=22)
        case(f"{name}_last", op, outputs=["Y_h"], bias=False, opset=18)
        case(f"{name}_last_both", op, "bidirectional", ["Y_h"], made=True)
        case(f"{name}_one_step", op, "bidirectional", outputs, states, steps=1, bias=False)
        case(f"{name}_lengths", op, outputs=outputs, initial=states, lens=True)
        case(f"{name}_lengths_reverse", op, "reverse", outputs, states, lens=True, opset=14)
        case(f"{name}_lengths_both", op, "bidirectional", ["Y"], lens=True, opset=22)
    case("lstm_cell", "LSTM", outputs=["Y_c"], initial="c")
    case("lstm_cell_lengths", "LSTM", "bidirectional", ["Y_c"], "h", lens=True, bias=False)
    case("lstm_named_activations", "LSTM", activations=["Sigmoid", "tanh", "Tanh"])
    case("gru_reset_last", "GRU", linear_before_reset=1, opset=13)
    case("gru_reset_last_all", "GRU", "bidirectional", ["Y", "Y_h"], "h", linear_before_reset=1)
    case("gru_reset_last_no_bias", "GRU", "reverse", ["Y_h"], bias=False, linear_before_reset=1)
    case("gru_reset_last_lengths", "GRU", "bidirectional", ["Y", "Y_h"], "h", lens=True, linear_before_reset=1, opset=22)
    case("rnn_relu", "RNN", outputs=["Y", "Y_h"], initial="h", activations=["Relu"])
    case("rnn_relu_and_tanh", "RNN", "bidirectional", activations=["Relu", "Tanh"], lens=True)
