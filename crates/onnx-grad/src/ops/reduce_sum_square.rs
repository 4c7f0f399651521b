//! ReduceSumSquare: `y = Σ x²` over axes. Saves `x`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceSumSquare;

impl Operator for ReduceSumSquare {
    fn name(&self) -> &'static str {
        "ReduceSumSquare"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = 2·dy·x`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let double = graph.node("Add", &[&upstream, &upstream], &[]);
        let x = &site.input(0)?.name;
        Ok(vec![Some(graph.node("Mul", &[x, &double], &[]))])
    }
}
