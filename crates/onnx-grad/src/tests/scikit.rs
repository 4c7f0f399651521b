//! What skl2onnx writes: linear models in attributes, labels before probabilities.

use prost::Message;

use super::hostile::{linear, node};
use super::parse;
use crate::attributes::text;
use crate::builder::value_info;
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::shape::{Dim, Element, ValueType};

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        floats: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn of_scikit(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.domain = Some("ai.onnx.ml".to_owned());
    node.attribute = attributes;
    node
}

/// Labels and scores of a linear model over three columns.
fn classifier(graph: &mut GraphProto, rows: &[[f32; 3]], post_transform: &str) {
    let mut own = node("LinearClassifier", &["x"], "label");
    own.output.push("p".to_owned());
    let attributes = vec![
        floats("coefficients", &rows.concat()),
        floats("intercepts", &vec![0.0; rows.len()]),
        text("post_transform", post_transform),
    ];
    graph.node = vec![of_scikit(own, attributes)];
    graph.initializer.clear();
    let label = ValueType {
        element: Element::I64,
        shape: vec![Dim::Batch(1)],
    };
    let scores = ValueType::f32(vec![Dim::Batch(1), Dim::Fixed(rows.len() as u64)]);
    graph.output = vec![value_info("label", &label), value_info("p", &scores)];
}

/// The operators that a model becomes, or why it is refused.
fn check(expected: Result<&[&str], &str>, change: impl FnOnce(&mut GraphProto)) {
    let mut model = linear();
    change(model.graph.as_mut().unwrap());
    let read = parse(&model.encode_to_vec());
    match (read, expected) {
        (Ok(read), Ok(expected)) => {
            let operators = read.graph.nodes.iter().map(|node| node.operator.name());
            assert_eq!(operators.collect::<Vec<_>>(), expected);
        }
        (Err(error), Err(expected)) => {
            assert!(error.to_string().contains(expected), "{error}");
        }
        (read, _) => panic!("{read:?} instead of {expected:?}"),
    }
}

#[test]
fn linear_models_become_products() {
    let three = [[1.0, 2.0, 3.0], [0.5, 0.0, 1.0], [-1.0, 1.0, 0.0]];
    check(Ok(&["Gemm"]), |graph| classifier(graph, &three, "NONE"));
    check(Ok(&["Gemm", "Softmax"]), |graph| {
        classifier(graph, &three, "SOFTMAX")
    });
    let two = [[1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]];
    check(Ok(&["Gemm", "Softmax"]), |graph| {
        classifier(graph, &two, "LOGISTIC")
    });
    let scaled = ["Constant", "Sub", "Constant", "Mul", "Identity", "Gemm"];
    check(Ok(&scaled), |graph| {
        classifier(graph, &three, "NONE");
        let scaler = vec![floats("offset", &[1.0; 3]), floats("scale", &[2.0; 3])];
        graph
            .node
            .insert(0, of_scikit(node("Scaler", &["x"], "s"), scaler));
        graph.node[1].input[0] = "s".to_owned();
    });
}

#[test]
fn what_is_no_softmax_is_refused_with_a_remedy() {
    let three = [[1.0, 2.0, 3.0], [0.5, 0.0, 1.0], [-1.0, 1.0, 0.0]];
    let raw = "export the model with options={'raw_scores': True}";
    check(Err(raw), |graph| classifier(graph, &three, "LOGISTIC"));
    check(Err(raw), |graph| {
        classifier(graph, &three, "NONE");
        graph.node[0].output[1] = "q".to_owned();
        let norm = vec![text("norm", "L1")];
        graph
            .node
            .push(of_scikit(node("Normalizer", &["q"], "p"), norm));
    });
    check(Err("options={'zipmap': False}"), |graph| {
        classifier(graph, &three, "NONE");
        graph
            .node
            .push(of_scikit(node("ZipMap", &["p"], "z"), Vec::new()));
    });
    check(Err("'raw_scores': True"), |graph| {
        classifier(graph, &three, "NONE");
        graph.node[0].output[1] = "q".to_owned();
        graph.node.push(node("Sigmoid", &["q"], "p"));
    });
    check(Err("has 9 coefficients for 2 outputs"), |graph| {
        classifier(graph, &three, "NONE");
        graph.node[0].attribute[1].floats.pop();
    });
    check(Err("which cannot be trained by gradients"), |graph| {
        graph.node[0] = of_scikit(node("TreeEnsembleRegressor", &["x"], "y"), Vec::new());
    });
}
