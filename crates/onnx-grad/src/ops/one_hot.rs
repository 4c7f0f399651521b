//! OneHot: a value where the index is and another elsewhere, along a new axis. It has no gradient.

use super::{Operator, shared_axes, shared_index};
use crate::attributes::int_or;
use crate::graph::Site;
use crate::shape::{Dim, Int, ValueType, normalize_axis};

pub(crate) struct OneHot;

impl Operator for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let mut shape = shared_index::indices(site, 0)?.shape().clone();
        let axis = normalize_axis(int_or(site.proto, "axis", -1), shape.len() + 1)?;
        let depth = match shared_axes::known_number(site, 1)? {
            Int::Fixed(depth @ 1..) => depth as u64,
            other => return Err(format!("its depth is {other}; it must be at least 1")),
        };
        shape.insert(axis, Dim::Fixed(depth));
        Ok(vec![ValueType {
            element: site.input(2)?.value_type.element,
            shape,
        }])
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
