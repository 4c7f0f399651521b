//! Mish (Misra, 2019): `y = x·t` with `t = tanh(ln(1 + eˣ))`. Saves `x` and `t`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

/// Name under which `t` is saved.
const TANH: &str = "tanh";

pub(crate) struct Mish;

impl Operator for Mish {
    fn name(&self) -> &'static str {
        "Mish"
    }

    fn since(&self) -> i64 {
        18
    }

    /// The runtime takes Mish apart into these nodes as well, but `t` could not be read there.
    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let (x, y) = (&site.input(0)?.name, &site.output()?.name);
        let softplus = graph.node("Softplus", &[x], &[]);
        let tanh = graph.node("Tanh", &[&softplus], &[]);
        graph.node_into("Mul", &[x, &tanh], &[], y.clone());
        graph.save(y, TANH, tanh);
        Ok(true)
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    /// `dx = dy·(t + x·σ(x)·(1 − t²))`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let x = &site.input(0)?.name;
        let tanh = graph.saved(&site.output()?.name, TANH)?;
        let one = graph.scalar(1.0);
        let square = graph.node("Mul", &[&tanh, &tanh], &[]);
        let tanh_slope = graph.node("Sub", &[&one, &square], &[]);
        let softplus_slope = graph.node("Sigmoid", &[x], &[]);
        let chain = graph.node("Mul", &[&softplus_slope, &tanh_slope], &[]);
        let weighted = graph.node("Mul", &[x, &chain], &[]);
        let slope = graph.node("Add", &[&tanh, &weighted], &[]);
        Ok(vec![Some(graph.node("Mul", &[upstream, &slope], &[]))])
    }
}
