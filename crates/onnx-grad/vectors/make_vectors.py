#!/usr/bin/env python3
"""Makes the golden vectors of this folder: small ONNX models, and what another framework says of them.

Every model stands here twice: as ONNX nodes, and written by hand in JAX, which differentiates the
latter in float64 by its own rules; central differences in float64 must agree with it. A file under
`families/` is a folder of models, of which `cases.json` holds inputs, targets, and JAX's outputs, mean
loss and gradients; `optimizers.json` has the parameters after some steps of Optax. The ONNX reference
evaluator must agree with the hand-written forward pass, or this script fails.

    pip install jax optax onnx numpy && python3 make_vectors.py [family...]
"""

import importlib
import json
import sys
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from case import Case, mean_loss, numbers, write_family

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).parent


def build(family):
    rng = np.random.default_rng(zlib.crc32(family.encode()))
    cases = []
    importlib.import_module(f"families.{family}").build(
        lambda *args, **kwargs: cases.append(Case(*args, **kwargs)),
        lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32))
    return cases


def write_optimizers(case):
    """Five full-batch steps on one model, by Optax; penalties are differentiated as part of the loss."""
    (x,), start = case.precise()
    t = case.targets(np.asarray(case.function(start, x)))
    written = []
    plain = dict(momentum=0.0, nesterov=False, decoupled=False, gradient_norm_max=0.0, weight_decay=0.0, proximal=0.0)
    for changes in [
        dict(optimizer="sgd"),
        dict(optimizer="sgd", momentum=0.9, weight_decay=0.01),
        dict(optimizer="sgd", momentum=0.9, nesterov=True),
        dict(optimizer="sgd", weight_decay=0.1, proximal=0.5),
        # The norm of all gradients is above this in some steps and below in others.
        dict(optimizer="sgd", momentum=0.5, gradient_norm_max=0.53, weight_decay=0.1),
        dict(optimizer="adam"),
        dict(optimizer="adam", weight_decay=0.1, proximal=0.5),
        dict(optimizer="adam", weight_decay=0.1, decoupled=True, gradient_norm_max=0.53),
    ]:
        settings = {**plain, **changes}
        rate = 0.1

        loss = lambda q: mean_loss(case.loss, case.logits(q, x), t)

        def penalty(q):
            decay = 0.0 if settings["decoupled"] else settings["weight_decay"]
            return sum(decay / 2 * jnp.sum(q[k] ** 2) + settings["proximal"] / 2 * jnp.sum((q[k] - start[k]) ** 2)
                       for k in q)

        if settings["optimizer"] == "sgd":
            optimizer = optax.sgd(rate, momentum=settings["momentum"] or None, nesterov=settings["nesterov"])
        elif settings["decoupled"]:
            optimizer = optax.adamw(rate, b1=0.8, b2=0.99, eps=1e-6, weight_decay=settings["weight_decay"])
        else:
            optimizer = optax.adam(rate, b1=0.8, b2=0.99, eps=1e-6)
        clip = optax.clip_by_global_norm(settings["gradient_norm_max"] or jnp.inf)
        params, state = start, optimizer.init(start)
        norms = []
        for _ in range(5):
            gradients = jax.grad(loss)(params)
            norms.append(float(optax.global_norm(gradients)))
            clipped, _ = clip.update(gradients, clip.init(params))
            total = jax.tree.map(jnp.add, clipped, jax.grad(penalty)(params))
            updates, state = optimizer.update(total, state, params)
            params = optax.apply_updates(params, updates)
        bound = settings["gradient_norm_max"]
        assert not bound or min(norms) < bound < max(norms), norms
        written.append({**settings, "learning_rate": rate, "steps": 5,
                        "parameters": [numbers(params[k]) for k in case.params]})
    (HERE / "optimizers.json").write_text(json.dumps({"case": case.name, "runs": written}, indent=1) + "\n")


def main():
    families = sorted(path.stem for path in (HERE / "families").glob("[a-z]*.py"))
    for family in sys.argv[1:] or families:
        cases = build(family)
        write_family(HERE / family, cases)
        if family == "dense":
            write_optimizers(next(case for case in cases if case.name == "loss_softmax"))


main()
