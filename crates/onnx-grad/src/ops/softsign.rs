//! Softsign: `y = x/(1 + |x|)`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Softsign;

impl Operator for Softsign {
    fn name(&self) -> &'static str {
        "Softsign"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy/(1 + |x|)²`. `1 − |y|` is the same as `1/(1 + |x|)`, but loses its digits where
    /// `x` is large.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let one = graph.scalar(1.0);
        let distance = graph.node("Abs", &[&site.input(0)?.name], &[]);
        let below = graph.node("Add", &[&distance, &one], &[]);
        let once = graph.node("Div", &[upstream, &below], &[]);
        Ok(vec![Some(graph.node("Div", &[&once, &below], &[]))])
    }
}
