//! Binary cross-entropy over logits: `log(1 + eᶻ) − z·t`, which is `−t·log σ(z) − (1−t)·log(1−σ(z))`.

use super::{LossNodes, mean_per_example, over_elements, target_like};
use crate::builder::GraphBuilder;
use crate::graph::Value;
use crate::shape::{elements_per_example, show};

/// Gradient at the logits: `(σ(z) − t) / N`.
pub(super) fn write(logits: &Value, graph: &mut GraphBuilder) -> Result<LossNodes, String> {
    let shape = logits.shape();
    if shape.len() > 2 || elements_per_example(shape) != Some(1) {
        return Err(format!(
            "its output is {}, one logit an example ([N,1]) is expected; use softmax cross-entropy for classes",
            show(shape)
        ));
    }
    let target = target_like(logits, graph);
    let z = &logits.name;
    // log(1 + e^z) = max(z, 0) + log(1 + e^−|z|), which cannot overflow.
    let magnitude = graph.node("Abs", &[z], &[]);
    let negative = graph.node("Neg", &[&magnitude], &[]);
    let exp = graph.node("Exp", &[&negative], &[]);
    let one = graph.scalar(1.0);
    let one_plus = graph.node("Add", &[&exp, &one], &[]);
    let log = graph.node("Log", &[&one_plus], &[]);
    let positive = graph.node("Relu", &[z], &[]);
    let softplus = graph.node("Add", &[&positive, &log], &[]);
    let chosen = graph.node("Mul", &[z, &target.0], &[]);
    let loss = graph.node("Sub", &[&softplus, &chosen], &[]);
    let probability = graph.node("Sigmoid", &[z], &[]);
    let residual = graph.node("Sub", &[&probability, &target.0], &[]);
    Ok(LossNodes {
        target,
        weight: None,
        per_example: mean_per_example(&loss, shape, graph),
        gradient: over_elements(&residual, logits, graph),
    })
}
