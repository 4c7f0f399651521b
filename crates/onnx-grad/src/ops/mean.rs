//! Mean of any number of inputs, broadcasting. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Mean;

impl Operator for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_float_broadcast_all(site)
    }

    /// Each of `n` inputs gets `dy/n`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let count = graph.scalar(site.proto.input.len() as f32);
        let part = graph.node("Div", &[upstream, &count], &[]);
        shared::same_gradients(site, &part, graph)
    }
}
