//! Abs: `y = |x|`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Abs;

impl Operator for Abs {
    fn name(&self) -> &'static str {
        "Abs"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise_number(site)
    }

    /// `dx = dy·sign(x)`; at 0 the gradient is 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let sign = graph.node("Sign", &[&site.input(0)?.name], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &sign], &[]))])
    }
}
