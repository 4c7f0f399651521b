//! The small model that is changed, with other nodes.

use super::hostile::{check, node};
use crate::builder::value_info;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::shape::{Dim, Element, ValueType};

/// A node of which the output has the name that the inputs of the next take.
pub(super) fn made(
    operator: &str,
    inputs: &[&str],
    output: &str,
    attributes: &[AttributeProto],
) -> NodeProto {
    NodeProto {
        attribute: attributes.to_vec(),
        ..node(operator, inputs, output)
    }
}

/// Nodes over `x` of `[N,3]`, `w` of `[3,2]`, `b` of `[2]`, and an input `i` of `[N,3]` in int64, are refused
/// with a message that contains the text.
pub(super) fn refused(expected: &str, nodes: Vec<NodeProto>, constants: Vec<TensorProto>) {
    refused_at(17, expected, nodes, constants);
}

/// The same at another operator set.
pub(super) fn refused_at(
    opset: i64,
    expected: &str,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
) {
    check(expected, |model, graph| {
        model.opset_import[0].version = Some(opset);
        let shape = vec![Dim::Batch(1), Dim::Fixed(3)];
        let element = Element::I64;
        graph
            .input
            .push(value_info("i", &ValueType { element, shape }));
        graph.initializer.extend(constants);
        graph.node = nodes;
    });
}
