//! What LSTM, GRU and RNN refuse.

use super::hostile::check;
use super::rewired::made;
use crate::attributes::{float, int, ints, text};
use crate::builder::value_info;
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::shape::{Dim, Element, ValueType};
use crate::tensor::encode_f32;

const OPERATORS: [(&str, u64); 3] = [("LSTM", 4), ("GRU", 3), ("RNN", 1)];

fn texts(name: &str, values: &[&str]) -> AttributeProto {
    AttributeProto {
        strings: values.iter().map(|own| own.as_bytes().to_vec()).collect(),
        ..text(name, "")
    }
}

/// A layer of 4 states over `x` of `[N,5,2]`, of which `t` is `[5,N,2]` and `reversed` is `[5,2,N]`; its last
/// state is the output.
fn layer(graph: &mut GraphProto, operator: &str, gates: u64) {
    let weights = |name: &str, dims: &[u64]| {
        encode_f32(
            name,
            dims,
            &vec![0.1; dims.iter().product::<u64>() as usize],
        )
    };
    let fixed = [Dim::Batch(1), Dim::Fixed(5), Dim::Fixed(2)];
    let lengths = ValueType {
        element: Element::I64,
        shape: vec![Dim::Batch(1)],
    };
    graph.input = vec![
        value_info("x", &ValueType::f32(fixed.to_vec())),
        value_info("lengths", &lengths),
    ];
    graph.initializer = vec![
        weights("w", &[1, gates * 4, 2]),
        weights("r", &[1, gates * 4, 4]),
        weights("b", &[1, gates * 8]),
        weights("h1", &[1, 1, 4]),
    ];
    let turn = [ints("perm", &[1, 0, 2])];
    let mut own = made(
        operator,
        &["t", "w", "r", "b"],
        "",
        &[int("hidden_size", 4)],
    );
    own.output.push("h".to_owned());
    graph.node = vec![
        made("Transpose", &["x"], "t", &turn),
        made("Transpose", &["x"], "reversed", &[ints("perm", &[1, 2, 0])]),
        own,
        made("Transpose", &["h"], "y", &turn),
    ];
}

/// The layer with its node changed is refused, whichever operator it is.
fn each(expected: &str, change: impl Fn(&mut NodeProto)) {
    for (operator, gates) in OPERATORS {
        check(expected, |_, graph| {
            layer(graph, operator, gates);
            change(&mut graph.node[2]);
        });
    }
}

fn with(expected: &str, attribute: AttributeProto) {
    each(expected, |node| node.attribute.push(attribute.clone()));
}

fn input(expected: &str, index: usize, name: &str) {
    each(expected, |node| {
        node.input
            .resize(node.input.len().max(index + 1), String::new());
        node.input[index] = name.to_owned();
    });
}

#[test]
fn what_changes_the_formulas_is_named() {
    with(
        "its layout is 1, which ONNX Runtime does not run",
        int("layout", 1),
    );
    with("its attribute `clip` is not supported", float("clip", 3.0));
    with(
        "its attribute `activation_alpha`",
        float("activation_alpha", 1.0),
    );
    with("its attribute `input_forget`", int("input_forget", 1));
    with(
        "its direction `sideways` is unknown",
        text("direction", "sideways"),
    );
    let three = texts("activations", &["Sigmoid", "Softsign", "Tanh"]);
    let activation = |expected: &str, operator: usize, given: AttributeProto| {
        let (operator, gates) = OPERATORS[operator];
        check(expected, |_, graph| {
            layer(graph, operator, gates);
            graph.node[2].attribute.push(given);
        });
    };
    activation(
        "its activation `Softsign` cannot be trained, only Tanh",
        0,
        three.clone(),
    );
    activation("it has 3 activations, 2 are expected", 1, three);
    let two = |first| texts("activations", &[first, "Tanh"]);
    activation(
        "its activation `HardSigmoid` cannot be trained, only Sigmoid",
        1,
        two("HardSigmoid"),
    );
    activation(
        "its activation `Elu` cannot be trained, only Tanh and Relu",
        2,
        texts("activations", &["Elu"]),
    );
}

#[test]
fn the_batch_must_be_at_axis_1() {
    input(
        "its steps are the batch of [N,5,2], which mixes examples",
        0,
        "x",
    );
    input(
        "its X has the shape [5,2,N], [steps, N, width] is expected",
        0,
        "reversed",
    );
}

#[test]
fn shapes_must_fit() {
    each("its hidden_size differs from R's 4", |node| {
        node.attribute = vec![int("hidden_size", i64::MAX)];
    });
    each("its W `r` has the shape", |node| {
        node.input[1] = "r".to_owned()
    });
    input("its R has the shape [5,2,N]", 2, "reversed");
    input("its B `w` has the shape", 3, "w");
    input(
        "its sequence_lens `x` has the shape [N,5,2], [N] is expected",
        4,
        "x",
    );
    input("its sequence_lens must be int32", 4, "lengths");
    // What exporters write where the batch is not open.
    input(
        "its initial_h `h1` has the shape [1,1,4], [1,N,4] is expected",
        5,
        "h1",
    );
    input("input 0 is missing", 0, "");
    input("input 2 is missing", 2, "");
    with("[2,", text("direction", "bidirectional"));
}

#[test]
fn sequences_are_bounded() {
    let of_steps = |expected: &str, steps: u64, hidden: u64| {
        check(expected, |_, graph| {
            layer(graph, "RNN", 1);
            let shape = vec![Dim::Batch(1), Dim::Fixed(steps), Dim::Fixed(1)];
            graph.input[0] = value_info("x", &ValueType::f32(shape));
            let r = vec![0.1; (hidden * hidden) as usize];
            graph.initializer[1] = encode_f32("r", &[1, hidden, hidden], &r);
            graph.node[2].attribute.clear();
        });
    };
    of_steps("its sequence has 20000 steps, at most 16384", 20_000, 4);
    of_steps(
        "its gates are more than 16777216 numbers an example",
        16_384,
        1025,
    );
}

#[test]
fn peepholes_and_cells_are_of_an_lstm_at_most() {
    let more = |expected: &str, operator: usize, inputs: &[&str]| {
        let (operator, gates) = OPERATORS[operator];
        check(expected, |_, graph| {
            layer(graph, operator, gates);
            let more = inputs.iter().map(|&name| name.to_owned());
            graph.node[2].input.extend(more);
        });
    };
    more("its peepholes P are not supported", 0, &["", "", "", "b"]);
    more("has 9 inputs, at most 8", 0, &["", "", "", "", "b"]);
    more("has 7 inputs, at most 6", 1, &["", "", "b"]);
    more("has 7 inputs, at most 6", 2, &["", "", "b"]);
    more(
        "its initial_c `h1` has the shape [1,1,4]",
        0,
        &["", "", "h1"],
    );
}
