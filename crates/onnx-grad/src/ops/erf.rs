//! Erf: `y = 2/√π · ∫₀ˣ exp(−t²) dt`. Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Erf;

impl Operator for Erf {
    fn name(&self) -> &'static str {
        "Erf"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy · 2/√π · exp(−x²)`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let x = &site.input(0)?.name;
        let square = graph.node("Mul", &[x, x], &[]);
        let negative = graph.node("Neg", &[&square], &[]);
        let bell = graph.node("Exp", &[&negative], &[]);
        let factor = graph.scalar(std::f32::consts::FRAC_2_SQRT_PI);
        let slope = graph.node("Mul", &[&factor, &bell], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
