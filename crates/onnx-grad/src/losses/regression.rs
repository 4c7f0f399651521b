//! Losses of a difference `d = z − t`, averaged over all elements of the output.

use super::{LossNodes, mean_per_example, over_elements, target_like};
use crate::builder::GraphBuilder;
use crate::graph::Value;

/// `d²`, gradient `2d`.
pub(super) fn squared(logits: &Value, graph: &mut GraphBuilder) -> LossNodes {
    write(logits, graph, |difference, graph| {
        let loss = graph.node("Mul", &[difference, difference], &[]);
        let gradient = graph.node("Add", &[difference, difference], &[]);
        (loss, gradient)
    })
}

/// `|d|`, gradient `sign d`.
pub(super) fn absolute(logits: &Value, graph: &mut GraphBuilder) -> LossNodes {
    write(logits, graph, |difference, graph| {
        let loss = graph.node("Abs", &[difference], &[]);
        let gradient = graph.node("Sign", &[difference], &[]);
        (loss, gradient)
    })
}

/// `d²/2` for `|d| ≤ δ`, else `δ·(|d| − δ/2)`; gradient `d` cut to `±δ`. With `c` that gradient, the
/// loss is `c·(d − c/2)` in both cases.
pub(super) fn huber(
    logits: &Value,
    delta: f32,
    graph: &mut GraphBuilder,
) -> Result<LossNodes, String> {
    if !(delta.is_finite() && delta > 0.0) {
        return Err(format!("delta is {delta}; it must be a positive number"));
    }
    Ok(write(logits, graph, |difference, graph| {
        let low = graph.scalar(-delta);
        let high = graph.scalar(delta);
        let cut = graph.node("Clip", &[difference, &low, &high], &[]);
        let half = graph.scalar(0.5);
        let half_cut = graph.node("Mul", &[&cut, &half], &[]);
        let rest = graph.node("Sub", &[difference, &half_cut], &[]);
        (graph.node("Mul", &[&cut, &rest], &[]), cut)
    }))
}

fn write(
    logits: &Value,
    graph: &mut GraphBuilder,
    rule: impl FnOnce(&str, &mut GraphBuilder) -> (String, String),
) -> LossNodes {
    let target = target_like(logits, graph);
    let difference = graph.node("Sub", &[&logits.name, &target.0], &[]);
    let (loss, gradient) = rule(&difference, graph);
    LossNodes {
        target,
        weight: None,
        per_example: mean_per_example(&loss, logits.shape(), graph),
        gradient: over_elements(&gradient, logits, graph),
    }
}
