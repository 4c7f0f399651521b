//! Softmax over one axis. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Softmax;

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        shared::softmax_axis(site)?;
        Ok(vec![site.float(0)?.value_type.clone()])
    }

    /// `dx = (dy − Σ dy·y)·y`, summed over the axis.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let axis = shared::softmax_axis(site)?;
        let product = graph.node("Mul", &[upstream, y], &[]);
        let sum = graph.reduce_sum(&product, &[axis], true);
        let centred = graph.node("Sub", &[upstream, &sum], &[]);
        Ok(vec![Some(graph.node("Mul", &[&centred, y], &[]))])
    }
}
