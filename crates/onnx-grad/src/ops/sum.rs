//! Sum of any number of inputs, broadcasting. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Sum;

impl Operator for Sum {
    fn name(&self) -> &'static str {
        "Sum"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_float_broadcast_all(site)
    }

    /// Every input gets `dy`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared::same_gradients(site, upstream, graph)
    }
}
