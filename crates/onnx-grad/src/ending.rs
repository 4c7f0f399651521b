//! What the outputs of a finished model mean.

use prost::Message as _;

use crate::error::ModelError;
use crate::proto::ModelProto;

/// What a model's outputs are, by the operator that they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Logits, or the numbers themselves.
    Plain,
    /// Probabilities, out of a sigmoid or softmax.
    Probabilities,
    /// Their logarithms, out of a log-softmax.
    LogProbabilities,
}

/// Reads how a model ends at the output with that name, or at the first, whether it can be trained or not.
///
/// # Errors
/// The bytes are not an ONNX model.
pub fn ending(model: &[u8], output: Option<&str>) -> Result<Ending, ModelError> {
    let proto = ModelProto::decode(model)?;
    let graph = proto.graph.unwrap_or_default();
    let first = graph.output.first().map_or("", |output| output.name());
    let mut output = output.unwrap_or(first);
    // Through a last Identity, which exporters like; nodes are in order.
    let last = graph.node.iter().rev().find(|node| {
        let makes = node.output.iter().any(|name| name == output);
        if makes && node.op_type() == "Identity" {
            output = node.input.first().map_or("", String::as_str);
            return false;
        }
        makes
    });
    Ok(match last.map(|node| node.op_type()) {
        Some("Sigmoid" | "Softmax") => Ending::Probabilities,
        Some("LogSoftmax") => Ending::LogProbabilities,
        _ => Ending::Plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{GraphProto, NodeProto, ValueInfoProto};

    #[test]
    fn the_operator_of_the_output_tells() {
        let check = |operator: &str, expected: Ending| {
            let node = |operator: &str, output: &str| NodeProto {
                op_type: Some(operator.to_owned()),
                output: vec![output.to_owned()],
                ..NodeProto::default()
            };
            let model = ModelProto {
                graph: Some(GraphProto {
                    node: vec![node("Gemm", "z"), node(operator, "y")],
                    output: vec![ValueInfoProto {
                        name: Some("y".to_owned()),
                        ..ValueInfoProto::default()
                    }],
                    ..GraphProto::default()
                }),
                ..ModelProto::default()
            };
            assert_eq!(ending(&model.encode_to_vec(), None).unwrap(), expected);
            let other = ending(&model.encode_to_vec(), Some("z")).unwrap();
            assert_eq!(other, Ending::Plain);
        };
        check("Sigmoid", Ending::Probabilities);
        check("Softmax", Ending::Probabilities);
        check("LogSoftmax", Ending::LogProbabilities);
        check("Gemm", Ending::Plain);
        assert!(ending(b"not a model", None).is_err());
    }
}
