//! Div: `c = a / b`, broadcasting. Saves `b` and `c`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Div;

impl Operator for Div {
    fn name(&self) -> &'static str {
        "Div"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_broadcast(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared::known_broadcast(site, Int::over)
    }

    /// `da = dc/b`, `db = −dc·c/b`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (b, c) = (&site.input(1)?.name, &site.output()?.name);
        let quotient = graph.node("Div", &[upstream, b], &[]);
        shared::broadcast_gradients(
            site,
            graph,
            |_| quotient.clone(),
            |graph| {
                let product = graph.node("Mul", &[&quotient, c], &[]);
                graph.node("Neg", &[&product], &[])
            },
        )
    }
}
