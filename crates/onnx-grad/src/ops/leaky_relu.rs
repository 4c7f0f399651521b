//! LeakyRelu: `y = x` for `x ≥ 0`, else `alpha·x`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Slope for negative inputs where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 0.01;

pub(crate) struct LeakyRelu;

impl Operator for LeakyRelu {
    fn name(&self) -> &'static str {
        "LeakyRelu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy` where `x > 0`, else `alpha·dy`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let zero = graph.scalar(0.0);
        let alpha = graph.scalar(float_or(site.proto, "alpha", ALPHA_DEFAULT));
        let positive = graph.node("Greater", &[&site.input(0)?.name, &zero], &[]);
        let leaked = graph.node("Mul", &[&alpha, upstream], &[]);
        Ok(vec![Some(graph.node(
            "Where",
            &[&positive, upstream, &leaked],
            &[],
        ))])
    }
}
