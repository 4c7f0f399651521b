//! Reading a node's attributes, and writing those of the nodes that we make.

use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, GraphProto, NodeProto};

/// The attribute of that name.
pub(crate) fn find<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name() == name)
}

/// An integer attribute, or its default.
pub(crate) fn int_or(node: &NodeProto, name: &str, default: i64) -> i64 {
    find(node, name).map_or(default, AttributeProto::i)
}

/// A float attribute, or its default.
pub(crate) fn float_or(node: &NodeProto, name: &str, default: f32) -> f32 {
    find(node, name).map_or(default, AttributeProto::f)
}

/// A text attribute, or its default.
pub(crate) fn text_or<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    find(node, name).map_or(default, |attribute| {
        std::str::from_utf8(attribute.s()).unwrap_or("?")
    })
}

/// An integer attribute of a node that we write.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// A float attribute of a node that we write.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..AttributeProto::default()
    }
}

/// An integer list attribute of a node that we write.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// A text attribute of a node that we write.
pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..AttributeProto::default()
    }
}

/// A graph attribute of a node that we write.
pub(crate) fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(value),
        ..AttributeProto::default()
    }
}
