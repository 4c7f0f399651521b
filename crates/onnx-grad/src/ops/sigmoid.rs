//! Sigmoid: `y = 1 / (1 + e⁻ˣ)`. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Sigmoid;

impl Operator for Sigmoid {
    fn name(&self) -> &'static str {
        "Sigmoid"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·y·(1 − y)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let one = graph.scalar(1.0);
        let rest = graph.node("Sub", &[&one, y], &[]);
        let slope = graph.node("Mul", &[y, &rest], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
