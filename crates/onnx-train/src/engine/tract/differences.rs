//! What tract computes otherwise than ONNX says, found with the golden vectors of onnx-grad: written in another
//! way or refused, since a device cannot see that its gradients are wrong.

use tract_onnx::pb::{ModelProto, NodeProto};

use crate::error::TrainError;

/// Refuses a graph of which tract would compute something wrongly.
pub(super) fn check(model: &ModelProto) -> Result<(), TrainError> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    for node in nodes {
        if let Some(what) = difference(node) {
            let operator = &node.op_type;
            return Err(TrainError::Tract(format!("{operator} {what}")));
        }
    }
    Ok(())
}

/// Writes remainders of integers so that they have the sign of the divisor, which tract does not always give:
/// `(a mod b + b) mod b`.
pub(super) fn mend(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else {
        return;
    };
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        let own = match node.op_type.as_str() {
            "Mod" if attribute(&node, "fmod").is_none_or(|own| own.i == 0) => remainder(node),
            _ => vec![node],
        };
        graph.node.extend(own);
    }
}

fn remainder(last: NodeProto) -> Vec<NodeProto> {
    let (Some(divisor), Some(output)) = (last.input.get(1).cloned(), last.output.first()) else {
        return vec![last];
    };
    let names = ["part", "sum"].map(|what| format!("{output}#{what}"));
    let step = |operator: &str, first: &str, to: &str| NodeProto {
        name: to.to_owned(),
        op_type: operator.to_owned(),
        input: vec![first.to_owned(), divisor.clone()],
        output: vec![to.to_owned()],
        ..NodeProto::default()
    };
    let [part, sum] = &names;
    let first = step("Mod", &last.input[0], part);
    let second = step("Add", part, sum);
    let third = step("Mod", sum, output);
    vec![first, second, third]
}

/// What of a node tract computes in another way.
fn difference(node: &NodeProto) -> Option<&'static str> {
    let integer = |name: &str| attribute(node, name).map_or(0, |own| own.i);
    let text = |name: &str| attribute(node, name).map_or(&b""[..], |own| &own.s);
    let has_input = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
    match node.op_type.as_str() {
        "LSTM" | "GRU" | "RNN" if text("direction") == b"reverse" => {
            Some("of the reverse direction alone")
        }
        "RNN"
            if attribute(node, "activations")
                .is_some_and(|own| own.strings.iter().any(|name| name != b"Tanh")) =>
        {
            Some("of another activation than Tanh")
        }
        "GRU" if integer("linear_before_reset") != 0 && !has_input(3) => {
            Some("with linear_before_reset and no bias")
        }
        "Celu" if attribute(node, "alpha").is_some_and(|own| own.f != 1.0) => {
            Some("with an alpha other than 1")
        }
        "ConvTranspose" if attribute(node, "output_shape").is_some() => {
            Some("with an output_shape")
        }
        "Einsum" if text("equation").windows(3).any(|three| three == b"...") => {
            Some("with an ellipsis")
        }
        _ => None,
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a tract_onnx::pb::AttributeProto> {
    node.attribute.iter().find(|own| own.name == name)
}
