//! Sqrt: `y = √x`. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Sqrt;

impl Operator for Sqrt {
    fn name(&self) -> &'static str {
        "Sqrt"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy/2y`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let double = graph.node("Add", &[y, y], &[]);
        Ok(vec![Some(graph.node("Div", &[upstream, &double], &[]))])
    }
}
