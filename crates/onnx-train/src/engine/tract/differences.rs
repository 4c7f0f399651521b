//! What tract computes otherwise than ONNX says, found with the golden vectors of onnx-grad: refused, since a
//! device cannot see that its gradients are wrong.

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
        "Mod" if integer("fmod") == 0 => Some("of integers"),
        _ => None,
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a tract_onnx::pb::AttributeProto> {
    node.attribute.iter().find(|own| own.name == name)
}
