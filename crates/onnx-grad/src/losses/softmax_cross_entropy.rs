//! Softmax cross-entropy over logits `[N, C]` with class indices `[N]`: `−log softmax(z)ₜ`.

use super::LossNodes;
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Value;
use crate::shape::{Dim, Element, ValueType, show};

/// Gradient at the logits: `(softmax(z) − onehot(t)) / N`.
pub(super) fn write(logits: &Value, graph: &mut GraphBuilder) -> Result<LossNodes, String> {
    let [batch, Dim::Fixed(classes @ 2..)] = logits.shape()[..] else {
        return Err(format!(
            "its output is {}, a logit for each of two or more classes ([N,C]) is expected",
            show(logits.shape())
        ));
    };
    let target = (
        graph.fresh("target"),
        ValueType {
            element: Element::I64,
            shape: vec![batch],
        },
    );
    let log_probability = graph.node("LogSoftmax", &[&logits.name], &[int("axis", -1)]);
    let depth = graph.integers(&[classes as i64]);
    let off_on = graph.tensor(&[2], &[0.0, 1.0]);
    let one_hot = graph.node("OneHot", &[&target.0, &depth, &off_on], &[int("axis", -1)]);
    let chosen = graph.node("Mul", &[&log_probability, &one_hot], &[]);
    let sum = graph.reduce_sum(&chosen, &[1], false);
    let per_example = graph.node("Neg", &[&sum], &[]);
    let probability = graph.node("Exp", &[&log_probability], &[]);
    let residual = graph.node("Sub", &[&probability, &one_hot], &[]);
    let count = graph.size(&target.0);
    Ok(LossNodes {
        target,
        weight: None,
        per_example,
        gradient: graph.node("Div", &[&residual, &count], &[]),
    })
}
