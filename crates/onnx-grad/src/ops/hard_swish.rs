//! HardSwish (Howard et al., "Searching for MobileNetV3", 2019): `y = x·max(0, min(1, x/6 + 1/2))`.
//! Saves `x`.

use super::{InputGradients, Operator, shared};
use crate::attributes::float;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct HardSwish;

impl Operator for HardSwish {
    fn name(&self) -> &'static str {
        "HardSwish"
    }

    fn since(&self) -> i64 {
        14
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·(x/3 + 1/2)` where `|x| < 3`, else `dy` above and 0 below. The last two are HardSigmoid
    /// out there, and also what the gradient is at the kinks.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let x = &site.input(0)?.name;
        let (third, half) = (graph.scalar(1.0 / 3.0), graph.scalar(0.5));
        let edge = graph.scalar(3.0);
        let distance = graph.node("Abs", &[x], &[]);
        let inside = graph.node("Less", &[&distance, &edge], &[]);
        let scaled = graph.node("Mul", &[x, &third], &[]);
        let inner = graph.node("Add", &[&scaled, &half], &[]);
        let steep = [float("alpha", 1.0), float("beta", 0.0)];
        let outer = graph.node("HardSigmoid", &[x], &steep);
        let slope = graph.node("Where", &[&inside, &inner, &outer], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
