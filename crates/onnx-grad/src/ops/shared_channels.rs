//! A normalisation by given numbers for each channel: one node, and so one pass over the value, where the
//! runtime has one.

use super::shared_normalization::inverse_deviation;
use crate::attributes::float;
use crate::builder::GraphBuilder;
use crate::shape::{Dim, Shape};

/// What becomes of a value `[N, channels, …]`: `scale·(value − mean)/√(variance + epsilon) + bias`, with a
/// number for each channel. What is not given is left out.
#[derive(Clone, Copy, Default)]
pub(super) struct PerChannel<'a> {
    pub(super) scale: Option<&'a str>,
    pub(super) bias: Option<&'a str>,
    pub(super) mean: Option<&'a str>,
    /// With what is added to it.
    pub(super) variance: Option<(&'a str, f32)>,
}

impl PerChannel<'_> {
    /// Writes it for a value of this shape.
    pub(super) fn write(&self, value: &str, shape: &Shape, graph: &mut GraphBuilder) -> String {
        let output = graph.fresh("fl.normalized");
        self.write_into(value, shape, output.clone(), graph);
        output
    }

    /// The same into a value of that name.
    pub(super) fn write_into(
        &self,
        value: &str,
        shape: &Shape,
        output: String,
        graph: &mut GraphBuilder,
    ) {
        if graph.kernels.simple {
            return self.write_steps(value, shape.len(), output, graph);
        }
        let channels = shape.get(1).copied().and_then(Dim::fixed).unwrap_or(0);
        let mut vector = |given: Option<&str>, otherwise: f32| match given {
            Some(given) => given.to_owned(),
            None => graph.tensor(&[channels], &vec![otherwise; channels as usize]),
        };
        let (variance, epsilon) = self.variance.unzip();
        let [scale, bias] = [vector(self.scale, 1.0), vector(self.bias, 0.0)];
        let [mean, variance] = [vector(self.mean, 0.0), vector(variance, 1.0)];
        let inputs = [value, &scale, &bias, &mean, &variance];
        let epsilon = [float("epsilon", epsilon.unwrap_or(0.0))];
        graph.node_into("BatchNormalization", &inputs, &epsilon, output);
    }

    /// The same as sums and products.
    fn write_steps(&self, value: &str, rank: usize, output: String, graph: &mut GraphBuilder) {
        let inverse = self
            .variance
            .map(|(variance, epsilon)| inverse_deviation(variance, epsilon, graph));
        let factor = match (self.scale, inverse) {
            (Some(scale), Some(inverse)) => Some(graph.node("Mul", &[scale, &inverse], &[])),
            (scale, inverse) => inverse.or(scale.map(str::to_owned)),
        };
        let steps = [
            ("Sub", self.mean),
            ("Mul", factor.as_deref()),
            ("Add", self.bias),
        ];
        let steps = steps
            .into_iter()
            .filter_map(|(operator, by)| Some((operator, by?)));
        let steps: Vec<(&str, &str)> = steps.collect();
        let mut made = value.to_owned();
        for (at, (operator, by)) in steps.iter().enumerate() {
            let by = column(value, by, rank, graph);
            let to = match at + 1 == steps.len() {
                true => output.clone(),
                false => graph.fresh("fl.normalized"),
            };
            graph.node_into(operator, &[&made, &by], &[], to.clone());
            made = to;
        }
    }
}

/// A number for each channel, to be broadcast over a value of this rank; for simple runtimes one for each
/// channel of each example, over which tract is some ten times as fast.
pub(super) fn column(value: &str, vector: &str, rank: usize, graph: &mut GraphBuilder) -> String {
    if rank == 2 {
        return vector.to_owned();
    }
    let mut shape = vec![-1];
    shape.resize(rank.saturating_sub(1), 1);
    let column = graph.reshape(vector, &shape);
    if !graph.kernels.simple {
        return column;
    }
    let sizes = graph.node("Shape", &[value], &[]);
    let examples = graph.slice(&sizes, &[0], &[0], &[1]);
    let others = graph.integers(&vec![1; rank - 1]);
    let shape = graph.concat(&[&examples, &others], 0);
    graph.node("Expand", &[&column, &shape], &[])
}
