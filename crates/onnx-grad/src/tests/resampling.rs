//! What Resize refuses.

use super::rewired::{made, refused, refused_at};
use crate::attributes::{int, ints, text};
use crate::proto::AttributeProto;
use crate::tensor::{encode_f32, encode_i64};

fn by(expected: &str, scales: &[f32], attributes: &[AttributeProto]) {
    let constants = vec![encode_f32("scales", &[scales.len() as u64], scales)];
    let nodes = vec![made("Resize", &["x", "", "scales"], "y", attributes)];
    refused(expected, nodes, constants);
}

fn to(expected: &str, sizes: &[i64]) {
    let nodes = vec![made("Resize", &["x", "", "", "sizes"], "y", &[])];
    refused(expected, nodes, vec![encode_i64("sizes", sizes)]);
}

#[test]
fn sizes_must_be_known_and_fit() {
    by(
        "resizes axis 0 of [N,3], which mixes examples of a batch",
        &[2.0, 1.0],
        &[],
    );
    to(
        "resizes axis 0 of [N,3], which mixes examples of a batch",
        &[4, 3],
    );
    by("has 1 scales or sizes for 2 axes", &[2.0], &[]);
    for scale in [0.1, -1.0, f32::NAN, f32::INFINITY, 1e9] {
        by(
            "makes of axis 1 of [N,3] no size from 1 to 16777216",
            &[1.0, scale],
            &[],
        );
    }
    let nodes = vec![made("Resize", &["x"], "y", &[])];
    refused("has neither scales nor sizes", nodes, Vec::new());
    let nodes = vec![made("Resize", &["x", "", "x"], "y", &[])];
    refused(
        "its scales `x` must be float32 and known",
        nodes,
        Vec::new(),
    );
    let nodes = vec![made("Resize", &["x", "", "", "i"], "y", &[])];
    refused(
        "its input 3 (`i`) must be int64 and known",
        nodes,
        Vec::new(),
    );
    refused_at(
        18,
        "names axis -1 twice",
        vec![made(
            "Resize",
            &["x", "", "s"],
            "y",
            &[ints("axes", &[1, -1])],
        )],
        vec![encode_f32("s", &[2], &[2.0, 2.0])],
    );
}

#[test]
fn modes_are_named() {
    let check = |expected: &str, attribute: AttributeProto| by(expected, &[1.0, 2.0], &[attribute]);
    check("resizes in the mode `cubic`", text("mode", "cubic"));
    check("the nearest_mode `up`", text("nearest_mode", "up"));
    let crop = text("coordinate_transformation_mode", "tf_crop_and_resize");
    check(
        "the coordinate_transformation_mode `tf_crop_and_resize`",
        crop,
    );
    check("resizes with antialias", int("antialias", 1));
    let policy = text("keep_aspect_ratio_policy", "not_larger");
    check("the keep_aspect_ratio_policy `not_larger`", policy);
}
