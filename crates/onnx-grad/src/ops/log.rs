//! Log: `y = ln x`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Log;

impl Operator for Log {
    fn name(&self) -> &'static str {
        "Log"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy/x`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let x = &site.input(0)?.name;
        Ok(vec![Some(graph.node("Div", &[upstream, x], &[]))])
    }
}
