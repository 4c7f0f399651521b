//! Sin: `y = sin x`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Sin;

impl Operator for Sin {
    fn name(&self) -> &'static str {
        "Sin"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·cos x`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let cosine = graph.node("Cos", &[&site.input(0)?.name], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &cosine], &[]))])
    }
}
