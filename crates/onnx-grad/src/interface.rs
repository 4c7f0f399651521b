//! What a finished model takes and gives, whether it can be trained or not.

use std::collections::BTreeSet;

use prost::Message as _;

use crate::error::ModelError;
use crate::proto::tensor_shape_proto::dimension::Value as Size;
use crate::proto::{ModelProto, ValueInfoProto, type_proto};

/// Inputs and outputs of a model, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The inputs that have no value in the file.
    pub inputs: Vec<Port>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
}

/// An input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// All dimensions but the first, which is the batch; none where one of them is open, or the input is no
    /// tensor.
    pub dims: Option<Vec<usize>>,
}

impl Interface {
    /// Reads the interface of a model.
    ///
    /// # Errors
    /// The bytes are not an ONNX model.
    pub fn of(model: &[u8]) -> Result<Self, ModelError> {
        let graph = ModelProto::decode(model)?.graph.unwrap_or_default();
        let valued = graph.initializer.iter().map(|tensor| tensor.name());
        let valued: BTreeSet<&str> = valued.collect();
        let open = graph.input.iter();
        let open = open.filter(|input| !valued.contains(input.name()));
        let port = |input: &ValueInfoProto| Port {
            name: input.name().to_owned(),
            dims: dims(input),
        };
        Ok(Self {
            inputs: open.map(port).collect(),
            outputs: graph
                .output
                .iter()
                .map(|own| own.name().to_owned())
                .collect(),
        })
    }
}

fn dims(input: &ValueInfoProto) -> Option<Vec<usize>> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let own = tensor.shape.as_ref()?.dim.iter().skip(1);
    own.map(|dim| match dim.value {
        Some(Size::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{GraphBuilder, value_info};
    use crate::shape::{Dim, ValueType};

    #[test]
    fn inputs_that_have_a_value_are_none() {
        let mut graph = GraphBuilder::new(["x".to_owned(), "y".to_owned()]);
        let weights = graph.tensor(&[3, 2], &[0.0; 6]);
        graph.node_into("MatMul", &["x", &weights], &[], "y".to_owned());
        let batched = |size| ValueType::f32(vec![Dim::Batch(1), Dim::Fixed(size)]);
        let [x, y] = [("x", 3), ("y", 2)].map(|(name, size)| (name.to_owned(), batched(size)));
        let mut proto = ModelProto::decode(&graph.finish("model", 17, &[x], &[y])[..]).unwrap();
        let known = ValueType::f32(vec![Dim::Fixed(3), Dim::Fixed(2)]);
        let own = proto.graph.as_mut().unwrap();
        own.input.push(value_info(&weights, &known));
        own.input
            .push(value_info("z", &ValueType::f32(vec![Dim::Batch(1); 2])));
        let found = Interface::of(&proto.encode_to_vec()).unwrap();
        let port = |name: &str, dims| Port {
            name: name.to_owned(),
            dims,
        };
        let expected = [port("x", Some(vec![3])), port("z", None)];
        assert_eq!(found.inputs, expected);
        assert_eq!(found.outputs, ["y"]);
    }
}
