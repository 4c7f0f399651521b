//! BatchNormalization (Ioffe and Szegedy, 2015): `y = scale·(x − mean)/√(variance + epsilon) + bias` for each
//! channel; in training with mean and population variance of the batch, in evaluation with the running
//! ones, and so in training where those are frozen. Saves mean and variance of a batch.
//!
//! A step moves the running statistics as ONNX defines it: `running·momentum + batch·(1 − momentum)`, with
//! the population variance. PyTorch's `momentum` is 1 minus this one, which its exporter sees to; but its
//! running variance is the unbiased one, larger by n/(n − 1) for n numbers a channel.

use super::shared_channels::{PerChannel, column};
use super::shared_normalization::{channels, check_vector, epsilon};
use super::{InputGradients, Operator};
use crate::attributes::{float, float_or, int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::shape::{Dim, ValueType, elements_per_example};

/// Where the node does not say, from the ONNX specification.
const MOMENTUM_DEFAULT: f32 = 0.9;
/// First operator set whose node computes a batch's statistics.
const TRAINING_MODE_SINCE: i64 = 14;

pub(crate) struct BatchNormalization;

impl Operator for BatchNormalization {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(5)?;
        let channels = channels(site)?;
        for index in 1..5 {
            check_vector(site, index, channels)?;
        }
        let mut types = vec![site.float(0)?.value_type.clone()];
        // Before, there were those of the batch as well.
        let outputs = if site.opset >= TRAINING_MODE_SINCE {
            3
        } else {
            5
        };
        types.resize(outputs, ValueType::f32(vec![Dim::Fixed(channels)]));
        Ok(types)
    }

    fn differentiable(&self, input: usize) -> bool {
        input < 3
    }

    fn statistics(&self) -> &'static [usize] {
        &[3, 4]
    }

    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let y = &site.output()?.name;
        let has_kernel = site.opset >= TRAINING_MODE_SINCE && !graph.kernels.simple;
        let batch = match has_kernel {
            true => fused(site, graph)?,
            false => composed(site, graph)?,
        };
        let momentum = float_or(site.proto, "momentum", MOMENTUM_DEFAULT);
        for (index, (what, value)) in ["mean", "variance"].into_iter().zip(batch).enumerate() {
            let before = running(site, index, graph)?;
            let after = match site.optional_output(1 + index) {
                Some(output) => output.name.clone(),
                None => graph.fresh("fl.running"),
            };
            mix(&before, &value, momentum, after.clone(), graph);
            let name = site.input(3 + index)?.name.clone();
            graph.statistics.insert(name, after);
            graph.save(y, what, value);
        }
        Ok(true)
    }

    /// A model exported in training mode is evaluated with the running statistics all the same.
    fn evaluate(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let as_it_is = int_or(site.proto, "training_mode", 0) == 0 && site.proto.output.len() == 1;
        if as_it_is && !graph.kernels.simple {
            return Ok(false);
        }
        let [mean, variance] = [site.input(3)?, site.input(4)?].map(|own| &own.name);
        normalized(site, [mean, variance], graph)?;
        for index in 1..5 {
            if let Some(output) = site.optional_output(index) {
                let running = &site.input(4 - index % 2)?.name;
                graph.node_into("Identity", &[running], &[], output.name.clone());
            }
        }
        Ok(true)
    }

    /// With `σ` the deviation, `n` numbers a channel and `h = (x − mean)/σ`: `dbias = Σ dy`, `dscale = Σ dy·h`,
    /// `dx = scale/σ·(dy − dbias/n − h·dscale/n)`; with frozen statistics, which no input moves,
    /// `dx = scale/σ·dy`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (x, y) = (site.input(0)?, &site.output()?.name);
        let (shape, axes) = (x.shape(), reduced_axes(x.shape().len()));
        // Nothing was saved where the node ran as in evaluation.
        let frozen = graph.saved(y, "mean").is_err();
        let (mean, variance) = match frozen {
            true => (site.input(3)?.name.clone(), site.input(4)?.name.clone()),
            false => (graph.saved(y, "mean")?, graph.saved(y, "variance")?),
        };
        let deviation = PerChannel {
            variance: Some((&variance, epsilon(site))),
            ..PerChannel::default()
        };
        let centre = PerChannel {
            mean: Some(&mean),
            ..deviation
        };
        let h = centre.write(&x.name, shape, graph);
        let product = graph.node("Mul", &[upstream, &h], &[]);
        let sum = |value: &str, graph: &mut GraphBuilder| match shape[..] {
            [Dim::Batch(1), _] => graph.sum_of_rows(value),
            _ => graph.reduce_sum(value, &axes, false),
        };
        let (dscale, dbias) = (sum(&product, graph), sum(upstream, graph));
        if !site.wants(0) {
            return Ok(vec![None, Some(dscale), Some(dbias)]);
        }
        let mut rest = upstream.to_owned();
        if !frozen {
            let count = numbers_a_channel(x, channels(site)?, graph);
            let [slope, shift] =
                [&dscale, &dbias].map(|sum| graph.node("Div", &[sum, &count], &[]));
            let common = PerChannel {
                scale: Some(&slope),
                bias: Some(&shift),
                ..PerChannel::default()
            };
            let common = common.write(&h, shape, graph);
            rest = graph.node("Sub", &[upstream, &common], &[]);
        }
        let back = PerChannel {
            scale: Some(&site.input(1)?.name),
            ..deviation
        };
        let dx = back.write(&rest, shape, graph);
        Ok(vec![Some(dx), Some(dscale), Some(dbias)])
    }
}

/// The running mean (0) or variance (1): a node that shares it with an earlier one moves it on from there.
fn running(site: &Site<'_>, index: usize, graph: &GraphBuilder) -> Result<String, String> {
    let name = &site.input(3 + index)?.name;
    Ok(graph.statistics.get(name).unwrap_or(name).clone())
}

/// Output, and the batch's mean and variance: without momentum they are the node's running ones.
fn fused(site: &Site<'_>, graph: &mut GraphBuilder) -> Result<[String; 2], String> {
    let [x, scale, bias] = [site.input(0)?, site.input(1)?, site.input(2)?].map(|own| &own.name);
    // ONNX Runtime writes these outputs over the inputs 3 and 4, whoever else reads those: they must be
    // values of this node alone, and different operators keep them from being taken for one.
    let mean = running(site, 0, graph)?;
    let mean = graph.node("Neg", &[&mean], &[]);
    let variance = running(site, 1, graph)?;
    let variance = graph.node("Abs", &[&variance], &[]);
    let statistics = [graph.fresh("fl.mean"), graph.fresh("fl.variance")];
    let mut outputs = vec![site.output()?.name.clone()];
    outputs.extend(statistics.clone());
    graph.node_of_outputs(
        "BatchNormalization",
        &[x, scale, bias, &mean, &variance],
        &[
            float("epsilon", epsilon(site)),
            float("momentum", 0.0),
            int("training_mode", 1),
        ],
        outputs,
    );
    Ok(statistics)
}

/// The same for operator sets and runtimes whose node has only the running statistics.
fn composed(site: &Site<'_>, graph: &mut GraphBuilder) -> Result<[String; 2], String> {
    let x = site.input(0)?;
    let rank = x.shape().len();
    let axes = reduced_axes(rank);
    let count = numbers_a_channel(x, channels(site)?, graph);
    let mean = |value: &str, graph: &mut GraphBuilder| {
        let sum = graph.reduce_sum(value, &axes, false);
        graph.node("Div", &[&sum, &count], &[])
    };
    let middle = mean(&x.name, graph);
    let beside = column(&x.name, &middle, rank, graph);
    let centred = graph.node("Sub", &[&x.name, &beside], &[]);
    let square = graph.node("Mul", &[&centred, &centred], &[]);
    let variance = mean(&square, graph);
    normalized(site, [&middle, &variance], graph)?;
    Ok([middle, variance])
}

/// The output by a mean and a variance, as in evaluation.
fn normalized(
    site: &Site<'_>,
    [mean, variance]: [&str; 2],
    graph: &mut GraphBuilder,
) -> Result<(), String> {
    let (x, y) = (site.input(0)?, site.output()?.name.clone());
    let whole = PerChannel {
        scale: Some(&site.input(1)?.name),
        bias: Some(&site.input(2)?.name),
        mean: Some(mean),
        variance: Some((variance, epsilon(site))),
    };
    whole.write_into(&x.name, x.shape(), y, graph);
    Ok(())
}

/// `before·momentum + batch·(1 − momentum)`.
fn mix(before: &str, batch: &str, momentum: f32, after: String, graph: &mut GraphBuilder) {
    let (old, new) = (graph.scalar(momentum), graph.scalar(1.0 - momentum));
    let old = graph.node("Mul", &[before, &old], &[]);
    let new = graph.node("Mul", &[batch, &new], &[]);
    graph.node_into("Add", &[&old, &new], &[], after);
}

/// All axes but that of the channels.
fn reduced_axes(rank: usize) -> Vec<i64> {
    [0].into_iter().chain(2..rank as i64).collect()
}

/// How many numbers the batch has for a channel, as a float of rank 0; written once for all nodes that have as
/// many of each example.
fn numbers_a_channel(x: &Value, channels: u64, graph: &mut GraphBuilder) -> String {
    let each = elements_per_example(x.shape()).filter(|_| x.shape()[0] == Dim::Batch(1));
    let each = each.map(|elements| elements / channels);
    if let Some(known) = each.and_then(|each| graph.counts.get(&each)) {
        return known.clone();
    }
    let size = graph.size(&x.name);
    let channels = graph.scalar(channels as f32);
    let count = graph.node("Div", &[&size, &channels], &[]);
    if let Some(each) = each {
        graph.counts.insert(each, count.clone());
    }
    count
}
