//! ReduceLogSum: `y = ln(Σ x)` over axes. Saves `y`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceLogSum;

impl Operator for ReduceLogSum {
    fn name(&self) -> &'static str {
        "ReduceLogSum"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy·exp(−y)` along the axes.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let y = reduction.spread(&site.output()?.name, graph);
        let negative = graph.node("Neg", &[&y], &[]);
        let inverse = graph.node("Exp", &[&negative], &[]);
        let part = graph.node("Mul", &[&upstream, &inverse], &[]);
        Ok(vec![Some(reduction.expand(&part, graph))])
    }
}
