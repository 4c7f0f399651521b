//! ReduceMin: the smallest element over axes. Saves `x` and `y`.

use super::shared_reduce::{self, AXES_INPUT};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct ReduceMin;

impl Operator for ReduceMin {
    fn name(&self) -> &'static str {
        "ReduceMin"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer_number(site, AXES_INPUT)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_reduce::known(site, AXES_INPUT, Int::smaller)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dy` goes to the elements that were taken, in even parts where several were, as PyTorch's
    /// `amin` has it.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared_reduce::extreme_gradient(site, upstream, graph)
    }
}
