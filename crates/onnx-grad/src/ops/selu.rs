//! Selu (Klambauer et al., 2017): `y = gamma·x` for `x > 0`, else `gamma·alpha·(eˣ − 1)`. Saves
//! `x` and `y`.

use super::{InputGradients, Operator, shared, shared_exponential};
use crate::attributes::float_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Factor of the exponential where the node does not say, from the ONNX specification.
const ALPHA_DEFAULT: f32 = 1.673_263_2;
/// Factor of both branches where the node does not say, from the ONNX specification.
const GAMMA_DEFAULT: f32 = 1.050_701;

pub(crate) struct Selu;

impl Operator for Selu {
    fn name(&self) -> &'static str {
        "Selu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = gamma·dy` where `x > 0`, else `dy·(y + gamma·alpha)`, also at 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let alpha = float_or(site.proto, "alpha", ALPHA_DEFAULT);
        let gamma = float_or(site.proto, "gamma", GAMMA_DEFAULT);
        shared_exponential::gradient(site, upstream, gamma, gamma * alpha, graph)
    }
}
