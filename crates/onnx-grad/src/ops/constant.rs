//! Constant: a value that stands in the node. It is never trained.

use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::proto::{AttributeProto, TensorProto};
use crate::shape::{Element, ValueType};
use crate::tensor::{Tensor, encode_f32, encode_i64};

pub(crate) struct Constant;

impl Operator for Constant {
    fn name(&self) -> &'static str {
        "Constant"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(0)?;
        Ok(vec![read(site, &Limits::default())?.value_type()])
    }

    fn constant(&self, site: &Site<'_>, limits: &Limits) -> Result<Option<Tensor>, String> {
        read(site, limits).map(Some)
    }

    fn gradient(
        &self,
        _site: &Site<'_>,
        _upstream: &str,
        _graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        Ok(Vec::new())
    }
}

fn read(site: &Site<'_>, limits: &Limits) -> Result<Tensor, String> {
    let [attribute] = &site.proto.attribute[..] else {
        return Err(format!(
            "has {} attributes, its value alone is expected",
            site.proto.attribute.len()
        ));
    };
    let proto = as_tensor(attribute).ok_or_else(|| {
        format!(
            "holds a `{}`; a tensor, numbers or a number is expected",
            attribute.name()
        )
    })?;
    Tensor::decode(&proto, limits).map_err(|error| error.to_string())
}

fn as_tensor(attribute: &AttributeProto) -> Option<TensorProto> {
    let scalar = |element: Element| TensorProto {
        data_type: Some(element.to_proto()),
        ..TensorProto::default()
    };
    Some(match attribute.name() {
        "value" => attribute.t.clone()?,
        "value_float" => TensorProto {
            float_data: vec![attribute.f()],
            ..scalar(Element::F32)
        },
        "value_int" => TensorProto {
            int64_data: vec![attribute.i()],
            ..scalar(Element::I64)
        },
        "value_floats" => encode_f32("", &[attribute.floats.len() as u64], &attribute.floats),
        "value_ints" => encode_i64("", &attribute.ints),
        _ => return None,
    })
}
