//! LogSoftmax over one axis. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct LogSoftmax;

impl Operator for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        shared::softmax_axis(site)?;
        Ok(vec![site.float(0)?.value_type.clone()])
    }

    /// `dx = dy − exp(y)·Σ dy`, summed over the axis.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let axis = shared::softmax_axis(site)?;
        let sum = graph.reduce_sum(upstream, &[axis], true);
        let probability = graph.node("Exp", &[&site.output()?.name], &[]);
        let share = graph.node("Mul", &[&probability, &sum], &[]);
        Ok(vec![Some(graph.node("Sub", &[upstream, &share], &[]))])
    }
}
