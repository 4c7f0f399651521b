"""Einsum: products, sums and transposes by labels."""

import jax.numpy as jnp


def build(add, p):
    def einsum(name, equation, dims, after, *others, opset=17, given=None):
        """x·w is the first operand, parameters are the others, and v multiplies the result."""
        params = {"w": p(*dims), **{f"o{i}": p(*shape) for i, shape in enumerate(others)}, "v": p(*after)}
        names = [f"o{i}" for i in range(len(others))]
        add(name, params,
            [("Mul", ["x", "w"], "h", {}), ("Einsum", ["h", *names], "e", {"equation": equation}), ("Mul", ["e", "v"], "y", {})],
            lambda q, x: jnp.einsum(given or equation.replace(" ", ""), x * q["w"], *(q[name] for name in names)) * q["v"],
            dims=dims, opset=opset)
    einsum("einsum_product", "ij,jk->ik", (3,), (2,), (3, 2), opset=13)
    einsum("einsum_implicit", "aj, jk", (3,), (2,), (3, 2))
    # The alphabet puts j before n: the output is transposed, and back for the loss.
    add("einsum_implicit_transposed", {"w": p(3), "o": p(2, 3), "v": p(2, 1)},
        [("Mul", ["x", "w"], "h", {}), ("Einsum", ["h", "o"], "e", {"equation": "nk,jk"}), ("Mul", ["e", "v"], "m", {}),
         ("Einsum", ["m"], "y", {"equation": "jn->nj"})],
        lambda q, x: ((x * q["w"]) @ q["o"].T) * q["v"][:, 0])
    einsum("einsum_heads", "bthd,hde->bthe", (2, 2, 3), (2, 2, 2), (2, 3, 2))
    einsum("einsum_transpose", "nij->nji", (2, 3), (3, 2))
    einsum("einsum_sum", "nij->nj", (2, 3), (3,))
    einsum("einsum_sum_one_operand", "nij,kj->nj", (2, 3), (3,), (4, 3))
    einsum("einsum_outer", "nj,k->njk", (2,), (2, 3), (3,))
    einsum("einsum_three", "ni,ij,jk->nk", (2,), (2,), (2, 3), (3, 2))
    einsum("einsum_ellipsis", "...ij,jk->...ik", (2, 2, 3), (2, 2, 2), (3, 2), given="abij,jk->abik")
    einsum("einsum_ellipsis_implicit", "...j,jk", (2, 3), (2, 2), (3, 2), given="...j,jk->...k")
    # Attention: both operands hold the batch.
    add("einsum_attention", {"q": p(2, 2), "k": p(2, 2), "v": p(3, 3)},
        [("MatMul", ["x", "q"], "a", {}), ("MatMul", ["x", "k"], "b", {}),
         ("Einsum", ["a", "b"], "s", {"equation": "bid,bjd->bij"}), ("Mul", ["s", "v"], "m", {}),
         ("Einsum", ["m", "a"], "y", {"equation": "bij,bjd->bid"})],
        lambda q, x: jnp.einsum("bij,bjd->bid", jnp.einsum("bid,bjd->bij", x @ q["q"], x @ q["k"]) * q["v"], x @ q["q"]),
        dims=(3, 2))
