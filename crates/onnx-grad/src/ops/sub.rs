//! Sub: `c = a − b`, broadcasting. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Sub;

impl Operator for Sub {
    fn name(&self) -> &'static str {
        "Sub"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_broadcast(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared::known_broadcast(site, |a, b| a.plus(b.times(Int::Fixed(-1))?))
    }

    /// `da = dc`, `db = −dc`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared::broadcast_gradients(
            site,
            graph,
            |_| upstream.to_owned(),
            |graph| graph.node("Neg", &[upstream], &[]),
        )
    }
}
