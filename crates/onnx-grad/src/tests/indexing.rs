//! What operators that look up and scatter refuse.

use super::rewired::{made, refused};
use crate::attributes::{int, text};
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::tensor::{encode_f32, encode_i64, encode_ints};

fn one(operator: &str, inputs: &[&str], attributes: &[AttributeProto]) -> Vec<NodeProto> {
    vec![made(operator, inputs, "y", attributes)]
}

fn index(values: &[i64]) -> Vec<TensorProto> {
    vec![encode_i64("at", values)]
}

#[test]
fn examples_are_not_mixed() {
    let mixes = "along axis 0 of [N,3], which mixes examples of a batch";
    refused(mixes, one("Gather", &["x", "at"], &[]), index(&[0]));
    refused(mixes, one("GatherElements", &["x", "i"], &[]), Vec::new());
    refused(
        mixes,
        one("ScatterElements", &["x", "i", "x"], &[]),
        Vec::new(),
    );
    refused(mixes, one("GatherND", &["x", "at"], &[]), index(&[0]));
    refused(mixes, one("ScatterND", &["x", "at", "b"], &[]), index(&[0]));
    refused(
        mixes,
        one("TopK", &["x", "at"], &[int("axis", 0)]),
        index(&[1]),
    );
    // Each example with the indices of all.
    refused(
        "has the shape [N,N,3], which mixes examples of a batch",
        one("Gather", &["x", "i"], &[int("axis", 1)]),
        Vec::new(),
    );
    refused(
        "scatters by indices along axis 0 of [N,3]",
        vec![
            made("Unsqueeze", &["i", "at"], "j", &[]),
            made("ScatterND", &["b", "j", "x"], "y", &[]),
        ],
        index(&[2]),
    );
    refused(
        "its indices [N,3] do not fit [3,2] along axis 1",
        one("GatherElements", &["w", "i"], &[int("axis", 1)]),
        Vec::new(),
    );
}

#[test]
fn indices_must_fit() {
    let along = [int("axis", 1)];
    refused(
        "index 3 is outside an axis of 3",
        one("Gather", &["x", "at"], &along),
        index(&[3]),
    );
    let lowest = one("Gather", &["x", "at"], &along);
    refused(
        "index -9223372036854775808 is outside",
        lowest,
        index(&[i64::MIN]),
    );
    refused(
        "axis 2 is outside",
        one("Gather", &["x", "i"], &[int("axis", 2)]),
        Vec::new(),
    );
    refused(
        "is F32; indices are int64",
        one("Gather", &["w", "x"], &[]),
        Vec::new(),
    );
    refused(
        "input 1 is missing",
        one("GatherElements", &["x"], &along),
        Vec::new(),
    );
    refused(
        "do not fit [N,3]",
        one("GatherElements", &["x", "at"], &along),
        index(&[0]),
    );
    refused(
        "do not fit [3,2]",
        one("GatherND", &["w", "at"], &[]),
        index(&[0, 0, 0]),
    );
    refused(
        "has 2 batch_dims",
        one("GatherND", &["w", "i"], &[int("batch_dims", 2)]),
        Vec::new(),
    );
    let scalar = vec![encode_ints("at", &[], &[0])];
    refused(
        "do not fit [3,2]",
        one("GatherND", &["w", "at"], &[]),
        scalar.clone(),
    );
    refused(
        "do not fit [3,2]",
        one("ScatterND", &["w", "at", "b"], &[]),
        scalar,
    );
    refused(
        "updates [3,2] do not fit [3,2]",
        one("ScatterND", &["w", "at", "w"], &[]),
        index(&[0]),
    );
    refused(
        "its updates are [2], [N,3] is expected",
        one("ScatterElements", &["x", "i", "b"], &along),
        Vec::new(),
    );
    refused(
        "reduces by `mul`; supported are none and add",
        one(
            "ScatterElements",
            &["x", "i", "x"],
            &[int("axis", 1), text("reduction", "mul")],
        ),
        Vec::new(),
    );
}

#[test]
fn counts_must_be_known_and_fit() {
    refused(
        "takes 4 of axis 1 of [N,3]",
        one("TopK", &["x", "at"], &[]),
        index(&[4]),
    );
    refused(
        "takes 0 of axis 1",
        one("TopK", &["x", "at"], &[]),
        index(&[0]),
    );
    refused(
        "holds 2 numbers, one is expected",
        one("TopK", &["x", "at"], &[]),
        index(&[1, 1]),
    );
    refused(
        "must be int64 and known",
        one("TopK", &["x", "i"], &[]),
        Vec::new(),
    );
    let hot = || {
        let mut constants = index(&[0]);
        constants.push(encode_f32("values", &[2], &[0.0, 1.0]));
        constants
    };
    refused(
        "its depth is 0",
        one("OneHot", &["i", "at", "values"], &[]),
        hot(),
    );
    refused(
        "axis 3 is outside a value of rank 3",
        one("OneHot", &["i", "at", "values"], &[int("axis", 3)]),
        hot(),
    );
}
