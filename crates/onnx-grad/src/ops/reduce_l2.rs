//! ReduceL2: `y = √(Σ x²)` over axes. Saves `x` and `y`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceL2;

impl Operator for ReduceL2 {
    fn name(&self) -> &'static str {
        "ReduceL2"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy·x/y`; where all of `x` is 0 the gradient is 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let y = reduction.spread(&site.output()?.name, graph);
        let zero = graph.scalar(0.0);
        let vanishes = graph.node("Equal", &[&y, &zero], &[]);
        let ratio = graph.node("Div", &[&upstream, &y], &[]);
        let ratio = graph.node("Where", &[&vanishes, &zero, &ratio], &[]);
        let x = &site.input(0)?.name;
        Ok(vec![Some(graph.node("Mul", &[x, &ratio], &[]))])
    }
}
