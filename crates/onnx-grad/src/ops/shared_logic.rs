//! What comparisons and logic do alike: they make masks, through which no gradient flows.

use super::shared;
use super::shared_known::{self, Known};
use crate::graph::Site;
use crate::shape::{Element, Int, ValueType};
use crate::tensor::Tensor;

/// Output type of a comparison of two numbers.
pub(super) fn infer_comparison(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(2)?;
    shared::common_number(site, 0..2)?;
    masks(site, 2)
}

/// What a comparison says of known whole numbers.
pub(super) fn known_comparison(
    site: &Site<'_>,
    compare: impl Fn(Int, Int) -> Option<bool>,
) -> Result<Option<Tensor>, String> {
    Ok(shared_known::of_two(site, compare)?.map(Known::<bool>::tensor))
}

/// Output type of an operator on so many masks.
pub(super) fn infer_logic(site: &Site<'_>, count: usize) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(count)?;
    for index in 0..count {
        shared::mask(site, index)?;
    }
    masks(site, count)
}

/// A mask in the shape that so many inputs broadcast to.
pub(super) fn masks(site: &Site<'_>, count: usize) -> Result<Vec<ValueType>, String> {
    Ok(vec![ValueType {
        element: Element::Bool,
        shape: shared::broadcast_shape(site, 0..count)?,
    }])
}
