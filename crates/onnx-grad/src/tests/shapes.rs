//! What operators that move, cut, join and repeat refuse, and that a step computes no shapes.

use fl_model::Loss;
use prost::Message;

use super::parse;
use super::rewired::{made, refused, refused_at};
use crate::attributes::{int, text};
use crate::differentiate::Move;
use crate::proto::{AttributeProto, ModelProto};
use crate::shape::ValueType;
use crate::tensor::{encode_f32, encode_i64};
use crate::{Differentiated, ForwardModel};

/// One operator of `x` and of constants `a`, `b`, … is refused.
fn of_x(expected: &str, operator: &str, operands: &[&[i64]], attributes: &[AttributeProto]) {
    let names = ["p", "q", "r", "s"];
    let mut inputs = vec!["x"];
    inputs.extend(&names[..operands.len()]);
    let constants = names.iter().zip(operands);
    refused(
        expected,
        vec![made(operator, &inputs, "y", attributes)],
        constants.map(|(name, own)| encode_i64(name, own)).collect(),
    );
}

#[test]
fn axes_must_be_there_and_named_once() {
    of_x(
        "axis 2 is outside a value of rank 2",
        "Squeeze",
        &[&[2]],
        &[],
    );
    of_x(
        "drops axis 1 of [N,3], which is not of size 1",
        "Squeeze",
        &[&[1]],
        &[],
    );
    of_x("drops axis 0 of [N,3]", "Squeeze", &[&[0]], &[]);
    of_x("names axis -1 twice", "Unsqueeze", &[&[3, -1]], &[]);
    of_x(
        "axis 9223372036854775807 is outside",
        "Unsqueeze",
        &[&[i64::MAX]],
        &[],
    );
    of_x("input 1 is missing", "Unsqueeze", &[], &[]);
    of_x(
        "names axis 1 twice",
        "Slice",
        &[&[0, 0], &[1, 1], &[-1, 1]],
        &[],
    );
    of_x(
        "axis -9223372036854775808 is outside",
        "Split",
        &[],
        &[int("axis", i64::MIN)],
    );
    of_x("has no axis", "Concat", &[], &[]);
}

#[test]
fn examples_are_not_mixed() {
    let mixes = "axis 0 of [N,3], which mixes examples of a batch";
    of_x(mixes, "Concat", &[], &[int("axis", 0)]);
    of_x(mixes, "Split", &[], &[]);
    of_x(mixes, "Slice", &[&[1], &[i64::MAX], &[0]], &[]);
    of_x(mixes, "Slice", &[&[-1], &[i64::MIN], &[0], &[-1]], &[]);
    of_x(mixes, "Slice", &[&[0], &[2]], &[]);
    of_x(mixes, "Tile", &[&[2, 1]], &[]);
    of_x(mixes, "Pad", &[&[1, 0, 0, 0]], &[]);
    of_x(mixes, "Trilu", &[], &[]);
    of_x(mixes, "EyeLike", &[], &[]);
    of_x(
        "[N,3] and [4,3] do not broadcast",
        "Expand",
        &[&[4, 3]],
        &[],
    );
}

#[test]
fn operands_must_be_known() {
    let known = "its input 1 (`i`) must be int64 and known when the model is read";
    for operator in ["Expand", "Tile", "Squeeze", "Unsqueeze", "Pad"] {
        refused(
            known,
            vec![made(operator, &["x", "i"], "y", &[])],
            Vec::new(),
        );
    }
    refused(
        known,
        vec![made("Split", &["x", "i"], "y", &[int("axis", 1)])],
        Vec::new(),
    );
    refused(
        "its input 0 (`i`) must be int64 and known",
        vec![made("ConstantOfShape", &["i"], "y", &[])],
        Vec::new(),
    );
    refused(
        "its input 2 must be one number that is known",
        vec![made("Range", &["f", "f", "x"], "y", &[])],
        vec![encode_f32("f", &[], &[1.0])],
    );
    refused(
        "its input 1 (`n`) depends on the size of the batch",
        vec![
            made("Shape", &["x"], "n", &[]),
            made("Split", &["x", "n"], "y", &[int("axis", 1)]),
        ],
        Vec::new(),
    );
    refused(
        "cuts axis 1 from 0 to N, which depends on the size of the batch",
        vec![
            made("Shape", &["x"], "n", &[int("end", 1)]),
            made("Slice", &["x", "zero", "n", "one"], "y", &[]),
        ],
        vec![encode_i64("zero", &[0]), encode_i64("one", &[1])],
    );
}

#[test]
fn sizes_must_fit() {
    of_x(
        "cannot cut axis 1 of [N,3] into [1, 1]",
        "Split",
        &[&[1, 1]],
        &[int("axis", 1)],
    );
    of_x(
        "cannot cut axis 1 of [N,3] into [4, -1]",
        "Split",
        &[&[4, -1]],
        &[int("axis", 1)],
    );
    let huge = [i64::MAX, i64::MAX, i64::MAX];
    of_x("cannot cut axis 1", "Split", &[&huge], &[int("axis", 1)]);
    of_x(
        "has a step of 0 along axis 1",
        "Slice",
        &[&[0], &[1], &[1], &[0]],
        &[],
    );
    of_x("keeps nothing of axis 1", "Slice", &[&[2], &[1], &[1]], &[]);
    of_x(
        "keeps nothing of axis 1",
        "Slice",
        &[&[i64::MIN], &[i64::MIN], &[1], &[i64::MIN]],
        &[],
    );
    of_x(
        "starts, ends, axes and steps of different lengths",
        "Slice",
        &[&[0, 1], &[1]],
        &[],
    );
    of_x("asks for a size of -1", "Expand", &[&[1, -1]], &[]);
    of_x("asks for a size of 0", "Tile", &[&[1, 0]], &[]);
    of_x("its sizes overflow", "Tile", &[&[1, i64::MAX]], &[]);
    of_x("has 1 repeats for [N,3]", "Tile", &[&[1]], &[]);
    of_x("has 3 pads for 2 axes", "Pad", &[&[0, 1, 1]], &[]);
    of_x(
        "cannot pad axis 1 by 9223372036854775807",
        "Pad",
        &[&[0, i64::MAX, 0, 1]],
        &[],
    );
    of_x(
        "cannot pad axis 1 of [N,3] by -2 and -1",
        "Pad",
        &[&[0, -2, 0, -1]],
        &[],
    );
    of_x(
        "cannot pad axis 1 of [N,3] by -3 and 4",
        "Pad",
        &[&[0, -3, 0, 4]],
        &[],
    );
    let reflect = [text("mode", "reflect")];
    of_x(
        "cannot pad axis 1 of [N,3] by 3 and 0",
        "Pad",
        &[&[0, 3, 0, 0]],
        &reflect,
    );
    of_x(
        "pads in the mode `wrap`",
        "Pad",
        &[&[0, 1, 0, 0]],
        &[text("mode", "wrap")],
    );
    of_x(
        "[N,C,H,W] is expected",
        "DepthToSpace",
        &[],
        &[int("blocksize", 2)],
    );
    refused(
        "cannot join [N,2] to [2,N] along axis 0",
        vec![
            made("MatMul", &["x", "w"], "h", &[]),
            made("Transpose", &["h"], "t", &[]),
            made("Concat", &["t", "h"], "y", &[int("axis", 0)]),
        ],
        Vec::new(),
    );
    refused_at(
        18,
        "cannot cut axis 1 of [N,3] into 1 pieces",
        vec![made(
            "Split",
            &["x"],
            "y",
            &[int("axis", 1), int("num_outputs", 1 << 40)],
        )],
        Vec::new(),
    );
}

#[test]
fn blocks_must_divide() {
    let image = |attributes: &[AttributeProto], operator: &str, expected: &str| {
        refused(
            expected,
            vec![
                made("Unsqueeze", &["x", "axes"], "h", &[]),
                made(operator, &["h"], "y", attributes),
            ],
            vec![encode_i64("axes", &[2, 3])],
        );
    };
    let side = |side: i64| [int("blocksize", side)];
    image(
        &side(2),
        "DepthToSpace",
        "[N,3,1,1] is not made of blocks of 2",
    );
    image(
        &side(2),
        "SpaceToDepth",
        "[N,3,1,1] is not made of blocks of 2",
    );
    image(
        &side(0),
        "SpaceToDepth",
        "its blocksize is not from 1 to 32768",
    );
    image(&side(i64::MAX), "DepthToSpace", "its blocksize is not");
    image(
        &[int("blocksize", 1), text("mode", "RGB")],
        "DepthToSpace",
        "has the mode `RGB`",
    );
}

#[test]
fn ranges_and_fills_are_bounded() {
    let range = |expected: &str, bounds: [i64; 3]| {
        let names = ["from", "to", "by"];
        let constants = names.iter().zip(bounds);
        refused(
            expected,
            vec![made("Range", &names, "y", &[])],
            constants
                .map(|(name, own)| encode_i64(name, &[own]))
                .collect(),
        );
    };
    range("counts from 0 to 3 by 0", [0, 3, 0]);
    range("counts from 3 to 0 by 1", [3, 0, 1]);
    range(
        "counts from 0 to 3 by -9223372036854775808",
        [0, 3, i64::MIN],
    );
    range("with more than 67108864 elements", [i64::MIN, i64::MAX, 1]);
    refused(
        "with more than 67108864 elements",
        vec![made("ConstantOfShape", &["s"], "y", &[])],
        vec![encode_i64("s", &[i64::MAX, i64::MAX])],
    );
}

/// The operators of a vector's training graph.
fn trained(model: &[u8]) -> Vec<String> {
    let model: ForwardModel = parse(model).unwrap();
    let step = Differentiated::new(&model, Loss::MeanSquaredError).unwrap();
    let outputs: Vec<(String, ValueType)> = step
        .moves
        .iter()
        .map(|own| match own {
            Move::Gradient(name) | Move::To(name) => (name.clone(), ValueType::f32(Vec::new())),
        })
        .collect();
    let bytes = step.builder.finish("step", model.opset(), &[], &outputs);
    let graph = ModelProto::decode(&bytes[..]).unwrap().graph.unwrap();
    let names = graph.node.into_iter().filter_map(|node| node.op_type);
    names.collect()
}

#[test]
fn a_step_computes_no_shapes_that_are_known() {
    for (name, model) in [
        (
            "view",
            &include_bytes!("../../vectors/shapes/chain_view.onnx")[..],
        ),
        (
            "bounds",
            include_bytes!("../../vectors/shapes/chain_shape_bounds.onnx"),
        ),
        (
            "multiple",
            include_bytes!("../../vectors/shapes/chain_batch_multiple.onnx"),
        ),
        (
            "size",
            include_bytes!("../../vectors/shapes/chain_size.onnx"),
        ),
        (
            "range",
            include_bytes!("../../vectors/shapes/chain_range.onnx"),
        ),
    ] {
        let operators = trained(model);
        let computed = operators
            .iter()
            .filter(|own| ["Shape", "Unsqueeze", "Concat"].contains(&own.as_str()));
        // The loss divides by the number of elements, by Size.
        assert_eq!(computed.count(), 0, "{name}: {operators:?}");
    }
}
