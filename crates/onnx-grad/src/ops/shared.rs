//! What several operators do alike.

use std::ops::Range;

use super::InputGradients;
use super::shared_known::{self, Known};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{
    Dim, Element, Int, Shape, ValueType, broadcast, elements_per_example, normalize_axis,
};
use crate::tensor::Tensor;

/// Output type of an operator that works on each element of one input.
pub(super) fn infer_elementwise(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(1)?;
    Ok(vec![site.float(0)?.value_type.clone()])
}

/// The same, where whole numbers pass as well; they have no gradient.
pub(super) fn infer_elementwise_number(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(1)?;
    let input = site.input(0)?;
    number(site, 0)?;
    Ok(vec![input.value_type.clone()])
}

/// Element type of an input that holds float32 or whole numbers.
pub(super) fn number(site: &Site<'_>, index: usize) -> Result<Element, String> {
    match site.input(index)?.value_type.element {
        element @ (Element::I32 | Element::I64) => Ok(element),
        _ => Ok(site.float(index)?.value_type.element),
    }
}

/// Checks that an input is a mask of truths.
pub(super) fn mask(site: &Site<'_>, index: usize) -> Result<(), String> {
    let value = site.input(index)?;
    match value.value_type.element {
        Element::Bool => Ok(()),
        other => Err(format!(
            "input {index} (`{}`) is {other:?}, a mask of bool is expected",
            value.name
        )),
    }
}

/// Output type of an operator that broadcasts two inputs. Whole numbers pass through it without a
/// gradient: exporters compute shapes and positions with them.
pub(super) fn infer_broadcast(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(2)?;
    let (element, shape) = (common_number(site, 0..2)?, broadcast_shape(site, 0..2)?);
    Ok(vec![ValueType { element, shape }])
}

/// The type that inputs have in common: whole numbers of one size, or float32.
pub(super) fn common_number(site: &Site<'_>, inputs: Range<usize>) -> Result<Element, String> {
    let first = number(site, inputs.start)?;
    for index in inputs.clone() {
        if site.input(index)?.value_type.element != first {
            for index in inputs {
                site.float(index)?;
            }
            break;
        }
    }
    Ok(first)
}

/// The shape that inputs broadcast to.
pub(super) fn broadcast_shape(site: &Site<'_>, inputs: Range<usize>) -> Result<Shape, String> {
    inputs.into_iter().try_fold(Shape::new(), |shape, index| {
        broadcast(&shape, site.input(index)?.shape())
    })
}

/// What an operator that broadcasts two inputs makes of known whole numbers.
pub(super) fn known_broadcast(
    site: &Site<'_>,
    combine: impl Fn(Int, Int) -> Option<Int>,
) -> Result<Option<Tensor>, String> {
    Ok(shared_known::of_two(site, combine)?.map(Known::<Int>::tensor))
}

/// The known whole numbers of the first input in another shape.
pub(super) fn known_in(site: &Site<'_>, types: Vec<ValueType>) -> Result<Option<Tensor>, String> {
    let values = Known::ints(site.input(0)?).map(Known::into_values);
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
    let left = site.wants(0).then(|| left(graph));
    let right = site.wants(1).then(|| right(graph));
    unbroadcast_all(site, vec![left, right], graph)
}

/// Gradients of broadcast inputs from those in the output's shape.
pub(super) fn unbroadcast_all(
    site: &Site<'_>,
    whole: InputGradients,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let from = site.output()?.shape();
    let whole = whole.into_iter().enumerate();
    whole
        .map(|(index, gradient)| {
            let to = site.input(index)?.shape();
            Ok(gradient.map(|gradient| graph.unbroadcast(&gradient, from, to)))
        })
        .collect()
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
    let is_float = element.is_float();
    Ok(vec![is_float.then(|| graph.cast(upstream, element))])
}

/// Output type of an operator that broadcasts any number of inputs.
pub(super) fn infer_broadcast_all(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    let all = 0..site.proto.input.len();
    Ok(vec![ValueType {
        element: common_number(site, all.clone())?,
        shape: broadcast_shape(site, all)?,
    }])
}

/// The same where the runtime knows the operator for floats only.
pub(super) fn infer_float_broadcast_all(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.float(0)?;
    infer_broadcast_all(site)
}

/// Gradients of any number of broadcast inputs, all of which have the same one in the output's shape.
pub(super) fn same_gradients(
    site: &Site<'_>,
    whole: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let inputs = 0..site.proto.input.len();
    let whole = inputs.map(|index| site.wants(index).then(|| whole.to_owned()));
    unbroadcast_all(site, whole.collect(), graph)
}

/// Additions and multiplications of a product over an inner dimension, for one example.
pub(super) fn product_flops(site: &Site<'_>, inner: Result<Dim, String>) -> u64 {
    let output = site
        .optional_output(0)
        .map(|own| elements_per_example(own.shape()));
    match (output.flatten(), inner) {
        (Some(output), Ok(Dim::Fixed(inner) | Dim::Batch(inner))) => {
            output.saturating_mul(inner).saturating_mul(2)
        }
        _ => 0,
    }
}
