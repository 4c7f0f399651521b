//! Elu (Clevert et al., 2015): `y = x` for `x > 0`, else `alpha·(eˣ − 1)`. Saves `x` and `y`.

use super::{InputGradients, Operator, shared, shared_exponential};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Factor of the exponential where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 1.0;

pub(crate) struct Elu;

impl Operator for Elu {
    fn name(&self) -> &'static str {
        "Elu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy` where `x > 0`, else `dy·(y + alpha)`, also at 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let alpha = float_or(site.proto, "alpha", ALPHA_DEFAULT);
        shared_exponential::gradient(site, upstream, 1.0, alpha, graph)
    }
}
