//! HardSigmoid: `y = max(0, min(1, alpha·x + beta))`. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Slope where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 0.2;

pub(crate) struct HardSigmoid;

impl Operator for HardSigmoid {
    fn name(&self) -> &'static str {
        "HardSigmoid"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = alpha·dy` where `0 < y < 1`, else 0, also at the kinks.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (zero, one) = (graph.scalar(0.0), graph.scalar(1.0));
        let alpha = graph.scalar(float_or(site.proto, "alpha", ALPHA_DEFAULT));
        let y = &site.output()?.name;
        let above = graph.node("Greater", &[y, &zero], &[]);
        let below = graph.node("Less", &[y, &one], &[]);
        let between = graph.node("And", &[&above, &below], &[]);
        let slope = graph.node("Where", &[&between, &alpha, &zero], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
