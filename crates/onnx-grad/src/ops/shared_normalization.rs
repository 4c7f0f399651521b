//! Normalisation of the numbers of one example: to mean 0 and variance 1 over some of its axes.

use super::InputGradients;
use crate::attributes::{float, float_or, int};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, as_reshape, show};

/// Added to the variance where the node does not say, from the ONNX specification.
const EPSILON_DEFAULT: f32 = 1e-5;
/// First operator set that has LayerNormalization.
const LAYER_NORMALIZATION_SINCE: i64 = 17;

/// The `epsilon` attribute.
pub(super) fn epsilon(site: &Site<'_>) -> f32 {
    float_or(site.proto, "epsilon", EPSILON_DEFAULT)
}

/// Channels of the first input, `[N, C, …]`, of which the batch must be the first axis.
pub(super) fn channels(site: &Site<'_>) -> Result<u64, String> {
    let shape = site.float(0)?.shape();
    match shape[..] {
        [_, Dim::Fixed(channels), ..] => Ok(channels),
        _ => Err(format!(
            "normalises {}; expected is [N, channels, …] with the batch first, so transpose it to the front",
            show(shape)
        )),
    }
}

/// Refuses an input that is not a vector of this length.
pub(super) fn check_vector(site: &Site<'_>, index: usize, len: u64) -> Result<(), String> {
    let value = site.float(index)?;
    match value.shape()[..] == [Dim::Fixed(len)] {
        true => Ok(()),
        false => Err(format!(
            "its input {index} (`{}`) is {}, a vector of {len} is expected",
            value.name,
            show(value.shape())
        )),
    }
}

/// `dx = (dh − mean dh − h·mean(dh·h))/σ` for `h = (x − mean)/σ`, with means over these axes, which have
/// `count` elements.
pub(super) fn normalized_gradient(
    dh: &str,
    h: &str,
    inverse_deviation: &str,
    (axes, count): (&[i64], u64),
    graph: &mut GraphBuilder,
) -> String {
    let part = graph.scalar((count as f32).recip());
    let mean = |value: &str, graph: &mut GraphBuilder| {
        let sum = graph.reduce_sum(value, axes, true);
        graph.node("Mul", &[&sum, &part], &[])
    };
    let shift = mean(dh, graph);
    let product = graph.node("Mul", &[dh, h], &[]);
    let slope = mean(&product, graph);
    let along = graph.node("Mul", &[h, &slope], &[]);
    let centred = graph.node("Sub", &[dh, &shift], &[]);
    let rest = graph.node("Sub", &[&centred, &along], &[]);
    graph.node("Mul", &[&rest, inverse_deviation], &[])
}

/// A normalisation over groups of channels and all axes behind them, `y = scale·h + bias`. Saves `h` and
/// `1/σ`, as `[N, groups, elements]`.
pub(super) struct Grouped {
    /// Number of groups.
    groups: u64,
    /// Elements of a group.
    elements: u64,
    /// Length of scale and bias: one number for each channel or for each group.
    parameters: u64,
}

impl Grouped {
    /// Checks the inputs.
    pub(super) fn new(site: &Site<'_>, groups: u64, parameters: u64) -> Result<Self, String> {
        site.at_most_inputs(3)?;
        let shape = site.float(0)?.shape();
        let inner: Option<u64> = shape
            .iter()
            .skip(1)
            .try_fold(1u64, |product, dim| product.checked_mul(dim.fixed()?));
        let Some(inner) = inner else {
            return Err(format!(
                "normalises {} over all axes but the first, which must be the batch",
                show(shape)
            ));
        };
        check_vector(site, 1, parameters)?;
        check_vector(site, 2, parameters)?;
        Ok(Self {
            groups,
            elements: inner / groups,
            parameters,
        })
    }

    /// The output is like the input.
    pub(super) fn infer(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        Ok(vec![site.float(0)?.value_type.clone()])
    }

    /// Writes the forward pass.
    pub(super) fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let (x, y) = (site.input(0)?, &site.output()?.name);
        let rows = graph.reshape(&x.name, &self.rows());
        let (h, inverse_deviation) = match site.opset >= LAYER_NORMALIZATION_SINCE {
            true => self.fused(&rows, epsilon(site), graph),
            false => self.composed(&rows, epsilon(site), graph),
        };
        graph.save(y, "normalised input", h.clone());
        graph.save(y, "inverse deviation", inverse_deviation);
        let h = graph.reshape(&h, &self.scaled());
        let scale = self.column(&site.input(1)?.name, graph);
        let bias = self.column(&site.input(2)?.name, graph);
        let stretched = graph.node("Mul", &[&h, &scale], &[]);
        let moved = graph.node("Add", &[&stretched, &bias], &[]);
        let shape = graph.integers(&as_reshape(x.shape()));
        graph.node_into("Reshape", &[&moved, &shape], &[], y.clone());
        Ok(true)
    }

    /// `dscale = Σ dy·h`, `dbias = Σ dy`, and `dx` with `dh = scale·dy`.
    pub(super) fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let h = graph.saved(y, "normalised input")?;
        let upstream = graph.reshape(upstream, &self.scaled());
        let mut gradients = vec![None, None, None];
        if site.wants(0) {
            let inverse_deviation = graph.saved(y, "inverse deviation")?;
            let scale = self.column(&site.input(1)?.name, graph);
            let dh = graph.node("Mul", &[&upstream, &scale], &[]);
            let dh = graph.reshape(&dh, &self.rows());
            let over = (&[2][..], self.elements);
            let dx = normalized_gradient(&dh, &h, &inverse_deviation, over, graph);
            gradients[0] = Some(graph.reshape(&dx, &as_reshape(site.input(0)?.shape())));
        }
        if site.wants(1) {
            let h = graph.reshape(&h, &self.scaled());
            let product = graph.node("Mul", &[&upstream, &h], &[]);
            gradients[1] = Some(graph.reduce_sum(&product, &[0, 2], false));
        }
        if site.wants(2) {
            gradients[2] = Some(graph.reduce_sum(&upstream, &[0, 2], false));
        }
        Ok(gradients)
    }

    /// One row for each group.
    fn rows(&self) -> [i64; 3] {
        [-1, self.groups as i64, self.elements as i64]
    }

    /// One row for each number of the scale.
    fn scaled(&self) -> [i64; 3] {
        let elements = self.groups * self.elements / self.parameters;
        [-1, self.parameters as i64, elements as i64]
    }

    /// Scale or bias beside those rows.
    fn column(&self, vector: &str, graph: &mut GraphBuilder) -> String {
        graph.reshape(vector, &[self.parameters as i64, 1])
    }

    /// Normalised rows and `1/σ` by the runtime's own kernel.
    fn fused(&self, rows: &str, epsilon: f32, graph: &mut GraphBuilder) -> (String, String) {
        let one = graph.scalar(1.0);
        let len = graph.integers(&[self.elements as i64]);
        let ones = graph.node("Expand", &[&one, &len], &[]);
        let attributes = [int("axis", -1), float("epsilon", epsilon)];
        let inputs = [rows, &ones];
        let mut outputs = graph.node_outputs("LayerNormalization", &inputs, &attributes, 3);
        let inverse_deviation = outputs.swap_remove(2);
        (outputs.swap_remove(0), inverse_deviation)
    }

    /// The same where operator sets have no such kernel.
    fn composed(&self, rows: &str, epsilon: f32, graph: &mut GraphBuilder) -> (String, String) {
        let part = graph.scalar((self.elements as f32).recip());
        let mean = |value: &str, graph: &mut GraphBuilder| {
            let sum = graph.reduce_sum(value, &[2], true);
            graph.node("Mul", &[&sum, &part], &[])
        };
        let middle = mean(rows, graph);
        let centred = graph.node("Sub", &[rows, &middle], &[]);
        let square = graph.node("Mul", &[&centred, &centred], &[]);
        let variance = mean(&square, graph);
        let inverse_deviation = inverse_deviation(&variance, epsilon, graph);
        let h = graph.node("Mul", &[&centred, &inverse_deviation], &[]);
        (h, inverse_deviation)
    }
}

/// `1/√(variance + epsilon)`.
pub(super) fn inverse_deviation(variance: &str, epsilon: f32, graph: &mut GraphBuilder) -> String {
    let epsilon = graph.scalar(epsilon);
    let raised = graph.node("Add", &[variance, &epsilon], &[]);
    let deviation = graph.node("Sqrt", &[&raised], &[]);
    graph.node("Reciprocal", &[&deviation], &[])
}

/// The shape with 1 for all axes from this one on.
pub(super) fn reduced(shape: &Shape, axis: usize) -> Shape {
    let dims = shape.iter().enumerate();
    dims.map(|(at, dim)| if at < axis { *dim } else { Dim::Fixed(1) })
        .collect()
}
