//! What several operators do alike.

use super::InputGradients;
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{ValueType, broadcast, normalize_axis};

/// Output type of an operator that works on each element of one input.
pub(super) fn infer_elementwise(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(1)?;
    Ok(vec![site.float(0)?.value_type.clone()])
}

/// Output type of an operator that broadcasts two inputs.
pub(super) fn infer_broadcast(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(2)?;
    let shape = broadcast(site.float(0)?.shape(), site.float(1)?.shape())?;
    Ok(vec![ValueType::f32(shape)])
}

/// Gradients of two broadcast inputs: each is made in the output's shape, where it is wanted, and
/// summed over what was broadcast.
pub(super) fn broadcast_gradients(
    site: &Site<'_>,
    graph: &mut GraphBuilder,
    left: impl FnOnce(&mut GraphBuilder) -> String,
    right: impl FnOnce(&mut GraphBuilder) -> String,
) -> Result<InputGradients, String> {
    let from = site.output()?.shape();
    let mut gradients = vec![None, None];
    if site.wants(0) {
        let whole = left(graph);
        gradients[0] = Some(graph.unbroadcast(&whole, from, site.input(0)?.shape()));
    }
    if site.wants(1) {
        let whole = right(graph);
        gradients[1] = Some(graph.unbroadcast(&whole, from, site.input(1)?.shape()));
    }
    Ok(gradients)
}

/// The axis of Softmax and LogSoftmax, counted from the end as the gradient's nodes want it.
pub(super) fn softmax_axis(site: &Site<'_>) -> Result<i64, String> {
    let shape = site.float(0)?.shape();
    let axis = normalize_axis(int_or(site.proto, "axis", -1), shape.len())?;
    if matches!(shape[axis], crate::shape::Dim::Batch(_)) {
        return Err("it runs over the batch, which mixes examples".to_owned());
    }
    Ok(axis as i64)
}

/// Gradient of an operator that only moves elements: the upstream gradient in the input's shape.
pub(super) fn reshape_back(
    site: &Site<'_>,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let shape = crate::shape::as_reshape(site.input(0)?.shape());
    Ok(vec![Some(graph.reshape(upstream, &shape))])
}
