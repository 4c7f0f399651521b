//! ReduceLogSumExp: `y = ln(Σ eˣ)` over axes. Saves `x` and `y`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceLogSumExp;

impl Operator for ReduceLogSumExp {
    fn name(&self) -> &'static str {
        "ReduceLogSumExp"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy·exp(x − y)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let y = reduction.spread(&site.output()?.name, graph);
        let distance = graph.node("Sub", &[&site.input(0)?.name, &y], &[]);
        let share = graph.node("Exp", &[&distance], &[]);
        Ok(vec![Some(graph.node("Mul", &[&share, &upstream], &[]))])
    }
}
