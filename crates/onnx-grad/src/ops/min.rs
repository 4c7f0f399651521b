//! Min: the smallest of any number of inputs, broadcasting. Saves the inputs and, of three or more, `y`.

use super::{InputGradients, Operator, shared, shared_extremes, shared_known};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Min;

impl Operator for Min {
    fn name(&self) -> &'static str {
        "Min"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_broadcast_all(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_known::of_all(site, Int::smaller)
    }

    /// `dy` goes to the smallest input, in even parts where several are.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared_extremes::gradients(site, upstream, "Less", graph)
    }
}
