//! Ceil: the smallest whole number that is not below `x`. Its slope is 0, so it has no gradient.

use super::{Operator, shared};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Ceil;

impl Operator for Ceil {
    fn name(&self) -> &'static str {
        "Ceil"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
