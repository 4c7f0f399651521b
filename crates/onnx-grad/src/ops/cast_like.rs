//! CastLike: elements of the type of another value. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Element, ValueType};
use crate::tensor::Tensor;

pub(crate) struct CastLike;

impl Operator for CastLike {
    fn name(&self) -> &'static str {
        "CastLike"
    }

    fn since(&self) -> i64 {
        15
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        Ok(vec![ValueType {
            element: site.input(1)?.value_type.element,
            shape: site.input(0)?.shape().clone(),
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        match site.input(1)?.value_type.element {
            Element::I64 => shared::known_in(site, self.infer(site)?),
            _ => Ok(None),
        }
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
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
