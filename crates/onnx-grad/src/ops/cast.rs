//! Cast: elements of another type. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::attributes::find;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::proto::AttributeProto;
use crate::shape::{Element, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Cast;

impl Operator for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        let to = find(site.proto, "to").map_or(0, AttributeProto::i);
        let element = i32::try_from(to)
            .ok()
            .and_then(Element::from_proto)
            .ok_or_else(|| format!("casts to the unsupported element type {to}"))?;
        Ok(vec![ValueType {
            element,
            shape: site.input(0)?.shape().clone(),
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let types = self.infer(site)?;
        match types.first().map(|own| own.element) {
            // TensorFlow computes shapes in int32.
            Some(Element::I64 | Element::I32) => shared::known_in(site, types),
            _ => Ok(None),
        }
    }

    /// `dx = dy` in the input's type.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared::cast_back(site, upstream, graph)
    }
}
