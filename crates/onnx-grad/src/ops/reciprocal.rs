//! Reciprocal: `y = 1/x`. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Reciprocal;

impl Operator for Reciprocal {
    fn name(&self) -> &'static str {
        "Reciprocal"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = −dy·y²`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let square = graph.node("Mul", &[y, y], &[]);
        let product = graph.node("Mul", &[upstream, &square], &[]);
        Ok(vec![Some(graph.node("Neg", &[&product], &[]))])
    }
}
