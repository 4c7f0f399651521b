//! Neg: `y = −x`. Saves nothing.

use super::shared_known::Known;
use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Neg;

impl Operator for Neg {
    fn name(&self) -> &'static str {
        "Neg"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise_number(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let known = Known::ints(site.input(0)?);
        let negative = known.and_then(|known| known.map(|own| own.times(Int::Fixed(-1))));
        Ok(negative.map(Known::<Int>::tensor))
    }

    /// `dx = −dy`.
    fn gradient(
        &self,
        _site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        Ok(vec![Some(graph.node("Neg", &[upstream], &[]))])
    }
}
