//! What tract computes otherwise than ONNX says, found with the golden vectors of onnx-grad and by reading:
//! refused, or rewritten (`rewrite.rs`), since a device cannot see that its gradients are wrong.

use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

use super::rewrite;
use crate::error::TrainError;

/// Refuses a graph of which tract would compute something wrongly, and rewrites what it can compute in other
/// words.
pub(super) fn mend(model: &mut ModelProto) -> Result<(), TrainError> {
    let opset = model.opset_import.iter().find(|own| own.domain.is_empty());
    let opset = opset.map_or(0, |own| own.version);
    let Some(graph) = &mut model.graph else {
        return Ok(());
    };
    for node in &graph.node {
        if let Some(what) = difference(node, graph) {
            let operator = &node.op_type;
            return Err(TrainError::Tract(format!("{operator} {what}")));
        }
    }
    rewrite::rewrite(graph, opset);
    Ok(())
}

/// What of a node tract computes in another way.
fn difference(node: &NodeProto, graph: &GraphProto) -> Option<&'static str> {
    let integer = |name: &str| attribute(node, name).map_or(0, |own| own.i);
    let text = |name: &str| attribute(node, name).map_or(&b""[..], |own| &own.s);
    let has_input = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
    match node.op_type.as_str() {
        "LSTM" | "GRU" | "RNN" if text("direction") == b"reverse" => {
            Some("of the reverse direction alone")
        }
        "RNN" if activations(node).any(|name| !name.eq_ignore_ascii_case(b"tanh")) => {
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
        "Resize" if has_input(2) && text("coordinate_transformation_mode") == b"align_corners" => {
            Some("by scales with align_corners, where it could go by sizes")
        }
        "Pad" if takes_away(node, graph) => Some("that takes away"),
        _ => None,
    }
}

fn activations(node: &NodeProto) -> impl Iterator<Item = &[u8]> {
    let list = attribute(node, "activations");
    list.into_iter()
        .flat_map(|own| &own.strings)
        .map(Vec::as_slice)
}

/// Whether a padding that is known has a size below 0.
fn takes_away(node: &NodeProto, graph: &GraphProto) -> bool {
    let pads = node.input.get(1);
    let pads = pads.and_then(|name| graph.initializer.iter().find(|own| own.name == *name));
    pads.is_some_and(|pads| integers(pads).any(|size| size < 0))
}

fn integers(tensor: &TensorProto) -> impl Iterator<Item = i64> {
    let raw = tensor.raw_data.as_chunks().0.iter();
    let raw = raw.map(|bytes| i64::from_le_bytes(*bytes));
    tensor.int64_data.iter().copied().chain(raw)
}

/// The attribute of that name.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|own| own.name == name)
}
