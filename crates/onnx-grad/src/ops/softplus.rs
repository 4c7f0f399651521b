//! Softplus: `y = ln(1 + eˣ)`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Softplus;

impl Operator for Softplus {
    fn name(&self) -> &'static str {
        "Softplus"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·σ(x)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let slope = graph.node("Sigmoid", &[&site.input(0)?.name], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
