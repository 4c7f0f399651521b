//! Convolution, pooling and normalisation that cannot be trained: each is an error that says what is wrong.

use prost::Message;

use super::parse;
use crate::attributes::{int, ints, text};
use crate::builder::value_info;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use crate::shape::{Dim, ValueType};
use crate::tensor::{encode_f32, encode_i64};

/// A value `x` of shape `[N, 4, 6, 5]`, and vectors, kernels and numbers by their names.
const VECTORS: [(&str, &[u64]); 6] = [
    ("k", &[2, 4, 3, 3]),
    ("kt", &[4, 2, 3, 3]),
    ("line", &[2, 4, 3]),
    ("two", &[2]),
    ("four", &[4]),
    ("fives", &[5]),
];

/// The node `y`, alone in a model, is refused with a message that contains the text.
fn check(operator: &str, inputs: &[&str], attributes: &[AttributeProto], expected: &str) {
    check_after(&[], operator, inputs, attributes, expected);
}

/// The same with nodes before it that make `t` of `x`.
fn check_after(
    before: &[NodeProto],
    operator: &str,
    inputs: &[&str],
    attributes: &[AttributeProto],
    expected: &str,
) {
    let sized = |dims: &[u64]| -> Vec<Dim> { dims.iter().map(|size| Dim::Fixed(*size)).collect() };
    let mut nodes = before.to_vec();
    nodes.push(node(operator, inputs, "y", attributes));
    nodes.push(node("Mul", &["y", "four"], "z", &[]));
    let constants = VECTORS.iter().map(|(name, dims)| {
        let count = dims.iter().product::<u64>() as usize;
        encode_f32(name, dims, &vec![0.5; count])
    });
    let x = [vec![Dim::Batch(1)], sized(&[4, 6, 5])].concat();
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(21),
        }],
        graph: Some(GraphProto {
            node: nodes,
            initializer: constants.chain([encode_i64("numbers", &[1, 2])]).collect(),
            input: vec![value_info("x", &ValueType::f32(x))],
            output: vec![value_info("z", &ValueType::f32(vec![Dim::Batch(1)]))],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    let message = parse(&model.encode_to_vec())
        .expect_err(expected)
        .to_string();
    assert!(
        message.contains(expected),
        "`{message}` does not contain `{expected}`"
    );
    assert!(
        message.contains("make_y"),
        "`{message}` does not name the node"
    );
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) -> NodeProto {
    NodeProto {
        name: Some(format!("make_{output}")),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes.to_vec(),
        ..NodeProto::default()
    }
}

/// `t` is `x` with its axes in this order.
fn turned(order: &[i64]) -> [NodeProto; 1] {
    [node("Transpose", &["x"], "t", &[ints("perm", order)])]
}

#[test]
fn weights_and_groups_must_fit() {
    let conv = |inputs: &[&str], attributes: &[AttributeProto], expected: &str| {
        check("Conv", inputs, attributes, expected);
    };
    conv(
        &["x", "line"],
        &[],
        "its weights [2,4,3] do not fit [N,4,6,5]",
    );
    conv(
        &["x", "kt"],
        &[],
        "its weights [4, 2, 3, 3] do not fit [N,4,6,5] in 1 groups",
    );
    conv(&["x", "x"], &[], "its weights [N,4,6,5] do not fit");
    conv(&["x", "numbers"], &[], "input 1 (`numbers`) is I64");
    conv(
        &["x", "k", "four"],
        &[],
        "its bias [4] does not fit 2 channels",
    );
    conv(
        &["x", "k"],
        &[int("group", 0)],
        "its 4 channels do not fall into 0 groups",
    );
    conv(
        &["x", "k"],
        &[int("group", i64::MIN)],
        "do not fall into -9223372036854775808 groups",
    );
    conv(
        &["x", "k"],
        &[ints("kernel_shape", &[2, 2])],
        "its kernel_shape [2, 2] is not that of its weights",
    );
    let transpose = |inputs: &[&str], attributes: &[AttributeProto], expected: &str| {
        check("ConvTranspose", inputs, attributes, expected);
    };
    transpose(
        &["x", "k"],
        &[],
        "its weights [2, 4, 3, 3] do not fit [N,4,6,5]",
    );
    transpose(
        &["x", "kt", "four"],
        &[],
        "its bias [4] does not fit 2 channels",
    );
    transpose(
        &["x", "kt"],
        &[int("group", 3)],
        "its 4 channels do not fall into 3 groups",
    );
}

#[test]
fn windows_must_fit_and_are_bounded() {
    let conv = |attributes: &[AttributeProto], expected: &str| {
        check("Conv", &["x", "k"], attributes, expected);
    };
    conv(
        &[ints("strides", &[0, 1])],
        "its strides are [0, 1]; 2 numbers from 1 to 16777216",
    );
    conv(
        &[ints("strides", &[i64::MAX, 1])],
        "2 numbers from 1 to 16777216 are expected",
    );
    conv(
        &[ints("pads", &[-1, 0, 0, 0])],
        "its pads are [-1, 0, 0, 0]; 4 numbers from 0",
    );
    conv(&[ints("pads", &[1])], "its pads are [1]; 4 numbers");
    conv(
        &[ints("dilations", &[9, 9])],
        "is larger than the padded input [N,4,6,5]",
    );
    let far = 1 << 24;
    conv(
        &[ints("pads", &[far, 0, far, far])],
        "has more than 67108864 elements an example",
    );
    conv(
        &[text("auto_pad", "MIRROR")],
        "its auto_pad `MIRROR` is unknown; NOTSET, VALID",
    );
    let transpose = |attributes: &[AttributeProto], expected: &str| {
        check("ConvTranspose", &["x", "kt"], attributes, expected);
    };
    transpose(
        &[ints("output_padding", &[1, 0])],
        "its output_padding [1, 0] must be less than its strides [1, 1]",
    );
    transpose(
        &[ints("output_shape", &[9, 7])],
        "its output_shape [9, 7] is more than its input covers",
    );
    transpose(
        &[ints("pads", &[4, 4, 4, 4])],
        "its pads leave nothing of its output",
    );
    transpose(
        &[ints("strides", &[far, far])],
        "has more than 67108864 elements an example",
    );
    let pool = |operator: &str, attributes: &[AttributeProto], expected: &str| {
        check(operator, &["x"], attributes, expected);
    };
    pool("MaxPool", &[], "has no kernel_shape");
    pool(
        "MaxPool",
        &[ints("kernel_shape", &[2])],
        "its kernel [2] does not fit [N,4,6,5]",
    );
    pool(
        "AveragePool",
        &[ints("kernel_shape", &[0, 1])],
        "its kernel [0, 1] does not fit",
    );
    pool(
        "AveragePool",
        &[ints("kernel_shape", &[7, 1])],
        "is larger than the padded input",
    );
    let padded = [ints("kernel_shape", &[1, 1]), ints("pads", &[1, 0, 0, 0])];
    pool(
        "MaxPool",
        &padded,
        "its pads must be smaller than its kernel",
    );
    let wide = [
        ints("kernel_shape", &[200, 2]),
        ints("pads", &[199, 0, 199, 0]),
    ];
    pool(
        "MaxPool",
        &wide,
        "windows of 400 elements overlap or are padded; at most 256",
    );
}

#[test]
fn examples_are_not_mixed() {
    let kernel = [ints("kernel_shape", &[2, 2])];
    check_after(
        &turned(&[1, 2, 0, 3]),
        "Conv",
        &["t", "k"],
        &[],
        "slides over the batch of [4,6,N,5], which mixes examples",
    );
    check_after(
        &turned(&[1, 0, 2, 3]),
        "Conv",
        &["t", "k"],
        &[],
        "where the batch is not the first axis, and would mix examples",
    );
    check_after(
        &turned(&[1, 0, 2, 3]),
        "ConvTranspose",
        &["t", "kt"],
        &[],
        "would mix examples",
    );
    check_after(
        &turned(&[1, 2, 3, 0]),
        "MaxPool",
        &["t"],
        &kernel,
        "slides over the batch",
    );
    check_after(
        &turned(&[1, 2, 3, 0]),
        "GlobalAveragePool",
        &["t"],
        &[],
        "pooling over the batch mixes examples",
    );
    check_after(
        &turned(&[1, 2, 3, 0]),
        "GlobalMaxPool",
        &["t"],
        &[],
        "pooling over the batch mixes examples",
    );
    check_after(
        &turned(&[1, 2, 3, 0]),
        "LayerNormalization",
        &["t", "four"],
        &[],
        "over the batch, which mixes examples",
    );
    check_after(
        &turned(&[1, 0, 2, 3]),
        "InstanceNormalization",
        &["t", "four", "four"],
        &[],
        "with the batch first",
    );
    let groups = [int("num_groups", 2)];
    check_after(
        &turned(&[2, 1, 0, 3]),
        "GroupNormalization",
        &["t", "four", "four"],
        &groups,
        "which must be the batch",
    );
    let statistics = ["t", "four", "four", "four", "four"];
    check_after(
        &turned(&[1, 0, 2, 3]),
        "BatchNormalization",
        &statistics,
        &[],
        "with the batch first",
    );
}

#[test]
fn parameters_of_normalisation_must_fit() {
    let four = ["four"; 4];
    let batch = [&["x"], &four[..3], &["two"]].concat();
    check(
        "BatchNormalization",
        &batch,
        &[],
        "its input 4 (`two`) is [2], a vector of 4 is expected",
    );
    check(
        "BatchNormalization",
        &["x", "four", "four", "four"],
        &[],
        "input 4 is missing",
    );
    check(
        "InstanceNormalization",
        &["x", "two", "four"],
        &[],
        "its input 1 (`two`) is [2], a vector of 4",
    );
    check(
        "GroupNormalization",
        &["x", "two", "two"],
        &[int("num_groups", 2)],
        "its input 1 (`two`) is [2], a vector of 4",
    );
    check(
        "GroupNormalization",
        &["x", "four", "four"],
        &[int("num_groups", 3)],
        "its 4 channels do not fall into 3 groups",
    );
    check(
        "GroupNormalization",
        &["x", "four", "four"],
        &[],
        "its 4 channels do not fall into 0 groups",
    );
    check(
        "LayerNormalization",
        &["x", "four"],
        &[],
        "its input 1 is [4], [5] is expected",
    );
    check(
        "LayerNormalization",
        &["x", "fives", "four"],
        &[],
        "its input 2 is [4], [5] is expected",
    );
    check(
        "LayerNormalization",
        &["x", "fives"],
        &[int("axis", 4)],
        "axis 4 is outside a value of rank 4",
    );
    check(
        "LayerNormalization",
        &["x", "fives"],
        &[int("axis", 0)],
        "over the batch, which mixes examples",
    );
}

#[test]
fn a_dropout_ratio_is_a_known_share() {
    check(
        "Dropout",
        &["x", "x"],
        &[],
        "its ratio `x` must be one float32 number that is known",
    );
    check(
        "Dropout",
        &["x", "four"],
        &[],
        "its ratio `four` must be one float32 number",
    );
    check(
        "Dropout",
        &["x", "numbers"],
        &[],
        "its ratio `numbers` must be one float32 number",
    );
    let whole = [node(
        "Constant",
        &[],
        "t",
        &[crate::attributes::float("value_float", 1.0)],
    )];
    check_after(
        &whole,
        "Dropout",
        &["x", "t"],
        &[],
        "its ratio is 1; it must be at least 0 and less than 1",
    );
}
