//! ReduceL1: `y = Σ |x|` over axes. Saves `x`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceL1;

impl Operator for ReduceL1 {
    fn name(&self) -> &'static str {
        "ReduceL1"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy·sign(x)`; at 0 the gradient is 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let sign = graph.node("Sign", &[&site.input(0)?.name], &[]);
        Ok(vec![Some(graph.node("Mul", &[&sign, &upstream], &[]))])
    }
}
