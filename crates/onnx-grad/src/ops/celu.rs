//! Celu (Barron, 2017): `y = max(x, 0) + min(alpha·(exp(x/alpha) − 1), 0)`. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Width of the exponential where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 1.0;

pub(crate) struct Celu;

impl Operator for Celu {
    fn name(&self) -> &'static str {
        "Celu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        alpha(site)?;
        shared::infer_elementwise(site)
    }

    /// `dx = dy·(min(y, 0)/alpha + 1)`: `y` is negative where `x` is, and the slope 1 at 0 from either side.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let alpha = alpha(site)?;
        let (zero, one) = (graph.scalar(0.0), graph.scalar(1.0));
        let negative = graph.node("Min", &[&site.output()?.name, &zero], &[]);
        let scaled = match alpha {
            1.0 => negative,
            alpha => {
                let alpha = graph.scalar(alpha);
                graph.node("Div", &[&negative, &alpha], &[])
            }
        };
        let slope = graph.node("Add", &[&scaled, &one], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}

fn alpha(site: &Site<'_>) -> Result<f32, String> {
    match float_or(site.proto, "alpha", ALPHA_DEFAULT) {
        0.0 => Err("its alpha is 0, by which it divides".to_owned()),
        alpha => Ok(alpha),
    }
}
