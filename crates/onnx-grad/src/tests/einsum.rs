//! What Einsum refuses.

use super::rewired::{made, refused};
use crate::attributes::text;

fn check(expected: &str, equation: &str, inputs: &[&str]) {
    let equation = [text("equation", equation)];
    refused(
        expected,
        vec![made("Einsum", inputs, "y", &equation)],
        Vec::new(),
    );
}

#[test]
fn equations_must_fit() {
    check(
        "sums over `n`, the batch, which mixes examples",
        "ni,ij->j",
        &["x", "w"],
    );
    check("its label `i` is both N and 3", "ij,ik->jk", &["x", "w"]);
    check(
        "has `i` twice in one term; diagonals are not supported",
        "ii->i",
        &["w"],
    );
    check("has `i` twice in one term", "ni->ii", &["x"]);
    check("has 2 operands for 1 inputs", "ni,ij->nj", &["x"]);
    check(
        "its input 0 is [N,3], 3 axes are expected",
        "nij->nj",
        &["x"],
    );
    check(
        "its output has a label that no operand has",
        "ni->nk",
        &["x"],
    );
    check(
        "its term `n1` has `1`; letters and one ellipsis",
        "n1->n",
        &["x"],
    );
    check(
        "has ellipses of different lengths",
        "...i,...->i",
        &["x", "w"],
    );
    check(
        "letters and one ellipsis are expected",
        "......->...",
        &["x"],
    );
    check("has ellipses of different lengths", "...nij->n", &["x"]);
    check("has 1 operands for 2 inputs", "", &["x", "w"]);
}
