//! Gelu (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016): `y = x·Φ(x)`, or with
//! `approximate = "tanh"` the same with `Φ(x) ≈ (1 + tanh(√(2/π)·(x + 0.044715·x³)))/2`. Saves `x`.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{InputGradients, Operator, shared};
use crate::attributes::text_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Coefficient of the cubic term in the approximation.
const CUBIC: f32 = 0.044_715;
/// √(2/π).
const SQRT_2_OVER_PI: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

pub(crate) struct Gelu;

impl Operator for Gelu {
    fn name(&self) -> &'static str {
        "Gelu"
    }

    fn since(&self) -> i64 {
        20
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        match text_or(site.proto, "approximate", "none") {
            "none" | "tanh" => shared::infer_elementwise(site),
            other => Err(format!(
                "its approximation `{other}` is unknown; `none` and `tanh` are supported"
            )),
        }
    }

    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let x = &site.input(0)?.name;
        let slope = match text_or(site.proto, "approximate", "none") {
            "tanh" => tanh_slope(x, graph),
            _ => exact_slope(x, graph),
        };
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}

/// `Φ(x) + x·φ(x)` with `Φ(x) = (1 + erf(x/√2))/2` and `φ(x) = exp(−x²/2)/√(2π)`.
fn exact_slope(x: &str, graph: &mut GraphBuilder) -> String {
    let (one, half) = (graph.scalar(1.0), graph.scalar(0.5));
    let scale = graph.scalar(FRAC_1_SQRT_2);
    let scaled = graph.node("Mul", &[x, &scale], &[]);
    let erf = graph.node("Erf", &[&scaled], &[]);
    let sum = graph.node("Add", &[&one, &erf], &[]);
    let cumulative = graph.node("Mul", &[&half, &sum], &[]);
    let square = graph.node("Mul", &[&scaled, &scaled], &[]);
    let negative = graph.node("Neg", &[&square], &[]);
    let bell = graph.node("Exp", &[&negative], &[]);
    let height = graph.scalar(SQRT_2_OVER_PI / 2.0);
    let density = graph.node("Mul", &[&height, &bell], &[]);
    let weighted = graph.node("Mul", &[x, &density], &[]);
    graph.node("Add", &[&cumulative, &weighted], &[])
}

/// With `u = √(2/π)·(x + c·x³)` and `t = tanh u`: `(1 + t)/2 + x·(1 − t²)·√(2/π)·(1 + 3c·x²)/2`.
fn tanh_slope(x: &str, graph: &mut GraphBuilder) -> String {
    let (one, half) = (graph.scalar(1.0), graph.scalar(0.5));
    let scale = graph.scalar(SQRT_2_OVER_PI);
    let square = graph.node("Mul", &[x, x], &[]);
    let polynomial = |coefficient: f32, graph: &mut GraphBuilder| {
        let coefficient = graph.scalar(coefficient);
        let term = graph.node("Mul", &[&coefficient, &square], &[]);
        let sum = graph.node("Add", &[&one, &term], &[]);
        graph.node("Mul", &[&scale, &sum], &[])
    };
    let factor = polynomial(CUBIC, graph);
    let inner_slope = polynomial(3.0 * CUBIC, graph);
    let inner = graph.node("Mul", &[x, &factor], &[]);
    let tanh = graph.node("Tanh", &[&inner], &[]);
    let sum = graph.node("Add", &[&one, &tanh], &[]);
    let tanh_square = graph.node("Mul", &[&tanh, &tanh], &[]);
    let tanh_slope = graph.node("Sub", &[&one, &tanh_square], &[]);
    let chain = graph.node("Mul", &[&tanh_slope, &inner_slope], &[]);
    let weighted = graph.node("Mul", &[x, &chain], &[]);
    let total = graph.node("Add", &[&sum, &weighted], &[]);
    graph.node("Mul", &[&half, &total], &[])
}
