//! Floor: the largest whole number that is not above `x`. Its slope is 0, so it has no gradient.

use super::{Operator, shared};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Floor;

impl Operator for Floor {
    fn name(&self) -> &'static str {
        "Floor"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
