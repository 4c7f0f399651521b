//! What several operators do alike.

use super::InputGradients;
use crate::attributes::{int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Element, Int, ValueType, broadcast, normalize_axis};
use crate::tensor::Tensor;

/// Output type of an operator that works on each element of one input.
pub(super) fn infer_elementwise(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(1)?;
    Ok(vec![site.float(0)?.value_type.clone()])
}

/// Output type of an operator that broadcasts two inputs. Whole numbers pass through it without a
/// gradient: exporters compute shapes and positions with them.
pub(super) fn infer_broadcast(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(2)?;
    let element = match site.input(0)?.value_type.element {
        element @ (Element::I32 | Element::I64) if site.input(1)?.value_type.element == element => {
            element
        }
        _ => {
            site.float(0)?;
            site.float(1)?.value_type.element
        }
    };
    let shape = broadcast(site.input(0)?.shape(), site.input(1)?.shape())?;
    Ok(vec![ValueType { element, shape }])
}

/// What an operator that broadcasts two inputs makes of known whole numbers.
pub(super) fn known_broadcast(
    site: &Site<'_>,
    combine: impl Fn(Int, Int) -> Option<Int>,
) -> Result<Option<Tensor>, String> {
    let (Some(left), Some(right)) = (&site.input(0)?.constant, &site.input(1)?.constant) else {
        return Ok(None);
    };
    let (Some(a), Some(b)) = (left.ints(), right.ints()) else {
        return Ok(None);
    };
    let (left, right) = (&left.dims, &right.dims);
    let dims = match (a.len(), b.len()) {
        _ if left == right => left,
        (_, 1) if left.len() >= right.len() => left,
        (1, _) if right.len() >= left.len() => right,
        // Exporters make nothing else; it is computed when the model runs.
        _ => return Ok(None),
    };
    let count = a.len().max(b.len());
    let pick = |values: &[Int], at: usize| values[if values.len() == 1 { 0 } else { at }];
    let combined: Option<Vec<Int>> = (0..count)
        .map(|at| combine(pick(&a, at), pick(&b, at)))
        .collect();
    Ok(combined.map(|values| Tensor::sizes(dims.clone(), values)))
}

/// The known whole numbers of the first input in another shape.
pub(super) fn known_in(site: &Site<'_>, types: Vec<ValueType>) -> Result<Option<Tensor>, String> {
    let values = site.input(0)?.constant.as_ref().and_then(Tensor::ints);
    let shape = types
        .into_iter()
        .next()
        .map(|own| own.shape)
        .unwrap_or_default();
    let dims: Option<Vec<u64>> = shape.iter().map(|dim| dim.fixed()).collect();
    Ok(values
        .zip(dims)
        .map(|(values, dims)| Tensor::sizes(dims, values)))
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

/// Gradient of an operator that only casts: the upstream gradient in the input's type. Values of integer
/// types have none.
pub(super) fn cast_back(
    site: &Site<'_>,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let element = site.input(0)?.value_type.element;
    let to = int("to", i64::from(element.to_proto()));
    let cast = |graph: &mut GraphBuilder| graph.node("Cast", &[upstream], &[to]);
    Ok(vec![element.is_float().then(|| cast(graph))])
}
