//! ThresholdedRelu: `y = x` for `x > alpha`, else 0. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Threshold where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 1.0;

pub(crate) struct ThresholdedRelu;

impl Operator for ThresholdedRelu {
    fn name(&self) -> &'static str {
        "ThresholdedRelu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy` where `x > alpha`, else 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let zero = graph.scalar(0.0);
        let alpha = graph.scalar(float_or(site.proto, "alpha", ALPHA_DEFAULT));
        let active = graph.node("Greater", &[&site.input(0)?.name, &alpha], &[]);
        Ok(vec![Some(graph.node(
            "Where",
            &[&active, upstream, &zero],
            &[],
        ))])
    }
}
