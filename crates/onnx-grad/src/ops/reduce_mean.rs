//! ReduceMean: `y = Σ x/n` over axes of `n` elements. Saves nothing.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ReduceMean;

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "ReduceMean"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer_number(site, AXES_INPUT)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy/n` along the axes.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let count = reduction
            .count()
            .ok_or("it reduces more elements than there are numbers")?;
        let count = graph.scalar(count as f32);
        let part = graph.node("Div", &[&upstream, &count], &[]);
        Ok(vec![Some(reduction.expand(&part, graph))])
    }
}
