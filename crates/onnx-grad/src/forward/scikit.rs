//! Models of scikit-learn as skl2onnx writes them: linear models and scalers are nodes of the domain
//! `ai.onnx.ml`, which keep their numbers in attributes, and labels come before probabilities. Both become
//! what every other exporter writes: products with initialisers, and the probabilities or scores alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::attributes::{find, float, int, int_or, text_or};
use crate::error::ModelError;
use crate::proto::tensor_proto::DataType;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};
use crate::tensor::encode_f32;

/// The domain of scikit-learn's operators.
pub(crate) const DOMAIN: &str = "ai.onnx.ml";

/// What may make the output of a classifier, so that softmax cross-entropy is the loss of it.
const ENDINGS: [&str; 5] = ["Softmax", "LogSoftmax", "Gemm", "Add", "MatMul"];

/// Rewrites a model that has nodes of scikit-learn's domain; others stay as they are.
///
/// # Errors
/// Names a node that cannot be trained, and how to export the model without it.
pub(super) fn rewrite(model: &mut ModelProto) -> Result<(), ModelError> {
    let Some(graph) = model.graph.as_mut() else {
        return Ok(());
    };
    if graph.node.iter().all(|node| node.domain() != DOMAIN) {
        return Ok(());
    }
    let zipmap = graph.node.iter().find(|node| node.op_type() == "ZipMap");
    if let Some(node) = zipmap {
        let reason = "makes dictionaries of the probabilities; export the model with options={'zipmap': False}";
        return Err(fault(node, reason));
    }
    let outputs = graph.output.len();
    graph.output.retain(is_float);
    prune(graph);
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        match (node.domain(), node.op_type()) {
            (DOMAIN, "LinearRegressor") => linear(graph, &node, "targets", None)?,
            (DOMAIN, "LinearClassifier") => classifier(graph, &node)?,
            (DOMAIN, "Scaler") => scaler(graph, &node),
            (DOMAIN, "Normalizer") => normalizer(graph, node)?,
            _ => graph.node.push(node),
        }
    }
    pair_of_sigmoid(graph);
    prune(graph);
    if graph.output.len() < outputs {
        check_ending(graph)?;
    }
    model.opset_import.retain(|own| own.domain() != DOMAIN);
    Ok(())
}

fn fault(node: &NodeProto, reason: impl Into<String>) -> ModelError {
    let name = [node.name(), node.output.first().map_or("", String::as_str)];
    let name = name.into_iter().find(|name| !name.is_empty());
    ModelError::Node {
        node: name.unwrap_or("without a name").to_owned(),
        operator: format!("{DOMAIN}::{}", node.op_type()),
        reason: reason.into(),
    }
}

fn is_float(output: &ValueInfoProto) -> bool {
    let value = output.r#type.as_ref().and_then(|own| own.value.as_ref());
    matches!(value, Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type() == DataType::Float as i32)
}

/// Drops what no output needs: nodes that make labels of scores, and their constants.
fn prune(graph: &mut GraphProto) {
    let mut needed: BTreeSet<String> = graph
        .output
        .iter()
        .map(|own| own.name().to_owned())
        .collect();
    let mut keep = vec![false; graph.node.len()];
    for (node, keep) in graph.node.iter().zip(&mut keep).rev() {
        *keep = node.output.iter().any(|name| needed.contains(name));
        if *keep {
            needed.extend(node.input.iter().cloned());
        }
    }
    let mut keep = keep.into_iter();
    graph.node.retain(|_| keep.next().unwrap_or(true));
    graph
        .initializer
        .retain(|tensor| needed.contains(tensor.name()));
}

fn node(
    operator: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// The numbers of a Constant node, which training leaves alone.
fn constant(values: &[f32], output: &str) -> NodeProto {
    let value = AttributeProto {
        name: Some("value".to_owned()),
        t: Some(encode_f32("", &[values.len() as u64], values)),
        r#type: Some(crate::proto::attribute_proto::AttributeType::Tensor as i32),
        ..AttributeProto::default()
    };
    node("Constant", &[], output, vec![value])
}

fn floats<'a>(node: &'a NodeProto, name: &str) -> &'a [f32] {
    find(node, name).map_or(&[], |own| &own.floats)
}

/// What a linear model's scores become.
struct Scores {
    /// Name of the probabilities or scores, and the operator that makes them.
    output: String,
    then: Option<&'static str>,
    /// Multiplies the scores.
    factor: f32,
}

/// `x·Cᵀ + b`, a row of C for each output.
fn linear(
    graph: &mut GraphProto,
    own: &NodeProto,
    rows: &str,
    scores: Option<Scores>,
) -> Result<(), ModelError> {
    let (coefficients, intercepts) = (floats(own, "coefficients"), floats(own, "intercepts"));
    let rows = match intercepts.len() {
        0 => int_or(own, rows, 1).max(1) as usize,
        rows => rows,
    };
    let (Some(input), false) = (own.input.first(), coefficients.is_empty()) else {
        return Err(fault(own, "has no input or no coefficients"));
    };
    if coefficients.len() % rows != 0 {
        let count = coefficients.len();
        return Err(fault(
            own,
            format!("has {count} coefficients for {rows} outputs"),
        ));
    }
    let scores = scores.unwrap_or(Scores {
        output: own.output.first().cloned().unwrap_or_default(),
        then: None,
        factor: 1.0,
    });
    let post = text_or(own, "post_transform", "NONE");
    if scores.then.is_none() && post != "NONE" {
        let reason = format!(
            "has the post_transform {post}; export the model with options={{'raw_scores': True}}"
        );
        return Err(fault(own, reason));
    }
    let names =
        ["coefficients", "intercepts", "scores"].map(|part| format!("{}.{part}", scores.output));
    let columns = (coefficients.len() / rows) as u64;
    graph
        .initializer
        .push(encode_f32(&names[0], &[rows as u64, columns], coefficients));
    let mut inputs = vec![input.as_str(), &names[0]];
    if !intercepts.is_empty() {
        graph
            .initializer
            .push(encode_f32(&names[1], &[rows as u64], intercepts));
        inputs.push(&names[1]);
    }
    let mut attributes = vec![int("transB", 1)];
    if scores.factor != 1.0 {
        attributes.extend(["alpha", "beta"].map(|name| float(name, scores.factor)));
    }
    let product = if scores.then.is_some() {
        &names[2]
    } else {
        &scores.output
    };
    graph.node.push(node("Gemm", &inputs, product, attributes));
    if let Some(then) = scores.then {
        graph
            .node
            .push(node(then, &[product], &scores.output, vec![int("axis", 1)]));
    }
    Ok(())
}

fn classifier(graph: &mut GraphProto, own: &NodeProto) -> Result<(), ModelError> {
    let coefficients = floats(own, "coefficients");
    let (negative, positive) = coefficients.split_at(coefficients.len() / 2);
    let mirrored = floats(own, "intercepts").len() == 2
        && negative.iter().zip(positive).all(|(a, b)| *a == -*b);
    let (then, factor) = match text_or(own, "post_transform", "NONE") {
        "SOFTMAX" => (Some("Softmax"), 1.0),
        // σ(s) of the scores −s and s are the softmax of their halves.
        "LOGISTIC" if mirrored => (Some("Softmax"), 0.5),
        _ => (None, 1.0),
    };
    let output = own.output.get(1).cloned().unwrap_or_default();
    linear(
        graph,
        own,
        "targets",
        Some(Scores {
            output,
            then,
            factor,
        }),
    )
}

/// `(x − offset)·scale`, constants of the model.
fn scaler(graph: &mut GraphProto, own: &NodeProto) {
    let output = own.output.first().map_or("", String::as_str);
    let mut value = own.input.first().cloned().unwrap_or_default();
    let parts = [("offset", "Sub"), ("scale", "Mul")]
        .map(|(part, operator)| (floats(own, part), part, operator));
    for (numbers, part, operator) in parts
        .into_iter()
        .filter(|(numbers, ..)| !numbers.is_empty())
    {
        let (name, made) = (format!("{output}.{part}"), format!("{output}.{operator}"));
        graph.node.push(constant(numbers, &name));
        graph
            .node
            .push(node(operator, &[&value, &name], &made, Vec::new()));
        value = made;
    }
    graph
        .node
        .push(node("Identity", &[&value], output, Vec::new()));
}

/// Numbers that a softmax has made add up to one already.
fn normalizer(graph: &mut GraphProto, own: NodeProto) -> Result<(), ModelError> {
    let (input, output) = (own.input.first(), own.output.first());
    let maker = graph.node.iter().find(|node| node.output.first() == input);
    let is_softmax = maker.is_some_and(|node| node.op_type() == "Softmax");
    if !is_softmax || text_or(&own, "norm", "MAX") != "L1" {
        let reason =
            "cannot be trained through; export the model with options={'raw_scores': True}";
        return Err(fault(&own, reason));
    }
    if let (Some(input), Some(output)) = (input, output) {
        graph
            .node
            .push(node("Identity", &[input], output, Vec::new()));
    }
    Ok(())
}

/// A network of two classes gives `[1 − σ(s), σ(s)]`: the softmax of −s/2 and s/2.
fn pair_of_sigmoid(graph: &mut GraphProto) {
    let Some(output) = graph.output.first().map(|own| own.name().to_owned()) else {
        return;
    };
    let makers: BTreeMap<&str, (usize, &NodeProto)> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| {
            node.output
                .iter()
                .map(move |name| (name.as_str(), (index, node)))
        })
        .collect();
    let made_by = |name: &str, operator: &str| {
        let node = makers.get(name).map(|(_, node)| *node);
        node.filter(|node| node.op_type() == operator)
    };
    let pair = || {
        let [negative, positive] = &made_by(&output, "Concat")?.input[..] else {
            return None;
        };
        let [_, subtracted] = &made_by(negative, "Sub")?.input[..] else {
            return None;
        };
        let score = made_by(positive, "Sigmoid").filter(|_| subtracted == positive)?;
        Some((makers.get(output.as_str())?.0, score.input.first()?.clone()))
    };
    let Some((place, score)) = pair() else {
        return;
    };
    let names = ["half", "high", "low", "scores"].map(|part| format!("{output}.{part}"));
    let [half, high, low, scores] = names.each_ref().map(String::as_str);
    let nodes = [
        constant(&[0.5], half),
        node("Mul", &[&score, half], high, Vec::new()),
        node("Neg", &[high], low, Vec::new()),
        node("Concat", &[low, high], scores, vec![int("axis", 1)]),
        node("Softmax", &[scores], &output, vec![int("axis", 1)]),
    ];
    graph.node.splice(place..=place, nodes);
}

/// Refuses a classifier whose probabilities are not those of a softmax: its loss would be another.
fn check_ending(graph: &GraphProto) -> Result<(), ModelError> {
    let mut output = graph.output.first().map_or("", |own| own.name());
    // From the back, so that each Identity is looked through once.
    for node in graph.node.iter().rev() {
        if node.output.first().map(String::as_str) != Some(output) {
            continue;
        }
        match node.op_type() {
            "Identity" => output = node.input.first().map_or("", String::as_str),
            ending if ENDINGS.contains(&ending) => return Ok(()),
            _ => {
                let reason = "makes probabilities that are not those of a softmax; export the model with \
                              options={'zipmap': False, 'raw_scores': True}";
                return Err(ModelError::Node {
                    node: node.name().to_owned(),
                    operator: node.op_type().to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
    }
    Ok(())
}
