//! Models whose graphs, or what is computed while they are read, would be far larger than their files.

use fl_model::Loss;
use prost::Message;

use super::hostile::{check, linear, node};
use super::parse;
use crate::attributes::ints;
use crate::builder::value_info;
use crate::shape::{Dim, ValueType};
use crate::tensor::{encode_f32, encode_i64};
use crate::{Differentiated, EvalGraph, ForwardModel, Limits};

#[test]
fn inputs_and_outputs_of_nodes_are_bounded() {
    check(
        "inputs and outputs of nodes, more than 50000",
        |_, graph| {
            let mut split = node("Split", &["y"], "p0");
            split.output = (0..60_000).map(|index| format!("p{index}")).collect();
            graph.node.push(split);
        },
    );
    check(
        "inputs and outputs of nodes, more than 50000",
        |_, graph| {
            graph.node.push(node("Concat", &["y"; 60_000], "z"));
        },
    );
}

/// A model may be small, and what its gradient writes large.
#[test]
fn nodes_that_are_written_are_bounded() {
    let mut model = linear();
    let graph = model.graph.as_mut().unwrap();
    let names: Vec<String> = (0..100).map(|index| format!("z{index}")).collect();
    let names: Vec<&str> = std::iter::once("y")
        .chain(names.iter().map(String::as_str))
        .collect();
    for pair in names.windows(2) {
        graph.node.push(node("Mish", &[pair[0]], pair[1]));
    }
    graph.output[0].name = Some("z99".to_owned());
    model.opset_import[0].version = Some(18);
    let bytes = model.encode_to_vec();
    let written_nodes_max = 300;
    let limits = Limits {
        written_nodes_max,
        ..Limits::default()
    };
    let bounded = ForwardModel::parse(&bytes, &limits).unwrap();
    assert!(EvalGraph::new(&bounded, Loss::MeanSquaredError).is_ok());
    let Err(error) = Differentiated::new(&bounded, Loss::MeanSquaredError) else {
        panic!("too many nodes are taken");
    };
    assert!(
        error.to_string().contains("nodes to train, more than 300"),
        "{error}"
    );
    assert!(Differentiated::new(&parse(&bytes).unwrap(), Loss::MeanSquaredError).is_ok());
}

/// Nodes that pass a large constant on do not have it many times.
#[test]
fn large_constants_are_not_computed_with() {
    const LARGE: usize = 1 << 20;
    let mut model = linear();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(encode_i64("large", &vec![7; LARGE]));
    let mut before = "large".to_owned();
    for index in 0..5000 {
        let name = format!("n{index}");
        let operator = ["Identity", "Neg", "Transpose", "Abs"][index % 4];
        graph.node.push(node(operator, &[&before], &name));
        before = name;
    }
    // As constants these would be 40 GB.
    let limits = Limits {
        activation_elements_max: 1 << 40,
        ..Limits::default()
    };
    let read = ForwardModel::parse(&model.encode_to_vec(), &limits).unwrap();
    let known = read
        .graph
        .values
        .iter()
        .filter(|value| value.constant.is_some());
    assert_eq!(known.count(), 3, "the weights, and the large one itself");
}

#[test]
fn windows_are_bounded() {
    let image = [
        Dim::Batch(1),
        Dim::Fixed(1),
        Dim::Fixed(2000),
        Dim::Fixed(2000),
    ];
    check(
        "has windows of [1000, 1000], more than 16384 elements",
        |_, graph| {
            graph.input[0] = value_info("x", &ValueType::f32(image.to_vec()));
            graph.initializer[0] = encode_f32("w", &[1, 1, 1000, 1000], &vec![0.0; 1_000_000]);
            graph.initializer.pop();
            graph.node[0] = node("Conv", &["x", "w"], "y");
        },
    );
    check("at most 256 elements are supported", |_, graph| {
        graph.input[0] = value_info("x", &ValueType::f32(image.to_vec()));
        graph.initializer[0] = encode_f32("w", &[1], &[0.5]);
        let mut pool = node("MaxPool", &["p"], "y");
        pool.attribute = vec![
            ints("kernel_shape", &[1000, 1000]),
            ints("strides", &[1, 1]),
        ];
        graph.node = vec![node("Mul", &["x", "w"], "p"), pool];
    });
}
