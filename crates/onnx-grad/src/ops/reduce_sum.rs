//! ReduceSum: `y = Σ x` over axes. Saves nothing.

use super::shared_reduce::{self, Reduction, SUM_AXES_INPUT};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct ReduceSum;

impl Operator for ReduceSum {
    fn name(&self) -> &'static str {
        "ReduceSum"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer_number(site, SUM_AXES_INPUT)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_reduce::known(site, SUM_AXES_INPUT, Int::plus)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy` along the axes.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, SUM_AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        Ok(vec![Some(reduction.expand(&upstream, graph))])
    }
}
