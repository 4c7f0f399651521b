//! Cos: `y = cos x`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Cos;

impl Operator for Cos {
    fn name(&self) -> &'static str {
        "Cos"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = −dy·sin x`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let sine = graph.node("Sin", &[&site.input(0)?.name], &[]);
        let product = graph.node("Mul", &[upstream, &sine], &[]);
        Ok(vec![Some(graph.node("Neg", &[&product], &[]))])
    }
}
