//! Mul: `c = a·b`, broadcasting. Saves `a` and `b`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Mul;

impl Operator for Mul {
    fn name(&self) -> &'static str {
        "Mul"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_broadcast(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared::known_broadcast(site, Int::times)
    }

    /// `da = dc·b`, `db = dc·a`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (a, b) = (&site.input(0)?.name, &site.input(1)?.name);
        shared::broadcast_gradients(
            site,
            graph,
            |graph| graph.node("Mul", &[upstream, b], &[]),
            |graph| graph.node("Mul", &[upstream, a], &[]),
        )
    }
}
