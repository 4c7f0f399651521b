//! What ArgMax and ArgMin do alike: indices, through which no gradient flows.

use super::{shared, shared_axes};
use crate::attributes::int_or;
use crate::graph::Site;
use crate::shape::{Dim, Element, ValueType, normalize_axis};

/// Output type.
pub(super) fn infer(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    site.at_most_inputs(1)?;
    shared::number(site, 0)?;
    let mut shape = site.input(0)?.shape().clone();
    let axis = normalize_axis(int_or(site.proto, "axis", 0), shape.len())?;
    shared_axes::fixed_size(&shape, axis, "runs over")?;
    match int_or(site.proto, "keepdims", 1) {
        0 => {
            shape.remove(axis);
        }
        _ => shape[axis] = Dim::Fixed(1),
    }
    Ok(vec![ValueType {
        element: Element::I64,
        shape,
    }])
}
