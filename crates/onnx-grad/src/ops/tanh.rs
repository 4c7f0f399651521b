//! Tanh. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Tanh;

impl Operator for Tanh {
    fn name(&self) -> &'static str {
        "Tanh"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·(1 − y²)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let square = graph.node("Mul", &[y, y], &[]);
        let one = graph.scalar(1.0);
        let slope = graph.node("Sub", &[&one, &square], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
