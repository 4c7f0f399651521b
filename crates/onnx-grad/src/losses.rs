//! The losses: loss per example, and the gradient of the batch's mean loss at the logits.

mod binary_cross_entropy;
mod regression;
mod softmax_cross_entropy;

use fl_model::Loss;

use crate::builder::GraphBuilder;
use crate::error::ModelError;
use crate::graph::{Graph, Node, Value, ValueId};
use crate::shape::{Dim, Shape, ValueType, as_reshape, elements_per_example};

/// Nodes that a loss has written.
pub(crate) struct LossNodes {
    /// Graph input for the targets.
    pub(crate) target: (String, ValueType),
    /// Graph input for what each example counts, `[N]`, where they do not count the same.
    pub(crate) weight: Option<String>,
    /// Loss of each example, `[N]`.
    pub(crate) per_example: String,
    /// Gradient at the logits of the mean over the batch, the weighted one where there are weights.
    pub(crate) gradient: String,
}

/// Where the loss attaches: the output, or what goes into a last Softmax, LogSoftmax or Sigmoid that
/// the loss contains already.
pub(crate) fn logits(graph: &Graph, loss: Loss) -> ValueId {
    let included: &[&str] = match loss {
        Loss::SoftmaxCrossEntropy => &["Softmax", "LogSoftmax"],
        Loss::BinaryCrossEntropy => &["Sigmoid"],
        _ => &[],
    };
    let mut last = graph.output();
    // Exporters like to end in an Identity. Nodes are in order, so one pass from the back meets them all.
    for node in graph.nodes.iter().rev() {
        if node.outputs.first() != Some(&Some(last)) {
            continue;
        }
        let (name, input) = (node.operator.name(), node.inputs.first().copied().flatten());
        match input {
            Some(input) if name == "Identity" => last = input,
            Some(input) if included.contains(&name) && is_of_examples(graph, node, loss) => {
                return input;
            }
            _ => break,
        }
    }
    graph.output()
}

/// Whether a last node is over what the loss is over.
fn is_of_examples(graph: &Graph, node: &Node, loss: Loss) -> bool {
    loss != Loss::SoftmaxCrossEntropy || crate::ops::is_over_last_axis(graph, node)
}

/// Writes the loss over these logits.
pub(crate) fn write(
    loss: Loss,
    logits: &Value,
    graph: &mut GraphBuilder,
) -> Result<LossNodes, ModelError> {
    let nodes = match loss {
        Loss::SoftmaxCrossEntropy => softmax_cross_entropy::write(logits, graph),
        Loss::BinaryCrossEntropy => binary_cross_entropy::write(logits, graph),
        Loss::MeanSquaredError => Ok(regression::squared(logits, graph)),
        Loss::MeanAbsoluteError => Ok(regression::absolute(logits, graph)),
        Loss::Huber { delta } => regression::huber(logits, delta, graph),
    };
    nodes.map_err(|reason| ModelError::Loss {
        loss: name(loss),
        reason,
    })
}

/// Gives each example its weight in the mean, `Σ wᵢ·lᵢ / Σ wᵢ`: its gradient is that of the plain mean of N
/// examples times `N·wᵢ / Σ wᵢ`, and 0 where a whole batch weighs 0. The losses themselves stay as they are.
pub(crate) fn weigh(nodes: &mut LossNodes, logits: &Value, graph: &mut GraphBuilder) {
    let weight = graph.fresh("weight");
    let total = graph.reduce_sum(&weight, &[0], false);
    let least = graph.scalar(f32::MIN_POSITIVE);
    let total = graph.node("Max", &[&total, &least], &[]);
    let share = graph.node("Div", &[&weight, &total], &[]);
    let count = graph.size(&weight);
    let mut factor = graph.node("Mul", &[&share, &count], &[]);
    if logits.shape().len() > 1 {
        let mut shape = vec![1; logits.shape().len()];
        shape[0] = -1;
        factor = graph.reshape(&factor, &shape);
    }
    nodes.gradient = graph.node("Mul", &[&nodes.gradient, &factor], &[]);
    nodes.weight = Some(weight);
}

/// What the loss is called in messages.
fn name(loss: Loss) -> &'static str {
    match loss {
        Loss::SoftmaxCrossEntropy => "softmax cross-entropy",
        Loss::BinaryCrossEntropy => "binary cross-entropy",
        Loss::MeanSquaredError => "mean squared error",
        Loss::MeanAbsoluteError => "mean absolute error",
        Loss::Huber { .. } => "huber",
    }
}

/// The graph input for targets of the same shape as the logits.
fn target_like(logits: &Value, graph: &mut GraphBuilder) -> (String, ValueType) {
    (graph.fresh("target"), logits.value_type.clone())
}

/// `[N, …]` → `[N]`, as the mean over everything but the batch.
fn mean_per_example(value: &str, shape: &Shape, graph: &mut GraphBuilder) -> String {
    let flat = match shape.len() {
        1 => value.to_owned(),
        _ if elements_per_example(shape) == Some(1) => {
            graph.reshape(value, &as_reshape(&[Dim::Batch(1)]))
        }
        rank => {
            let axes: Vec<i64> = (1..rank as i64).collect();
            graph.reduce_sum(value, &axes, false)
        }
    };
    match elements_per_example(shape) {
        Some(1) | None => flat,
        Some(count) => {
            let count = graph.scalar(count as f32);
            graph.node("Div", &[&flat, &count], &[])
        }
    }
}

/// Divides by the number of elements of the logits: the gradient of a mean.
fn over_elements(gradient: &str, logits: &Value, graph: &mut GraphBuilder) -> String {
    let count = graph.size(&logits.name);
    graph.node("Div", &[gradient, &count], &[])
}
