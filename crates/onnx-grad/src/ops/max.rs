//! Max: the largest of any number of inputs, broadcasting. Saves the inputs and, of three or more, `y`.

use super::{InputGradients, Operator, shared, shared_extremes, shared_known};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Max;

impl Operator for Max {
    fn name(&self) -> &'static str {
        "Max"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_broadcast_all(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_known::of_all(site, Int::larger)
    }

    /// `dy` goes to the largest input, in even parts where several are.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared_extremes::gradients(site, upstream, "Greater", graph)
    }
}
