//! Round: the nearest whole number, the even one of two. Its slope is 0, so it has no gradient.

use super::{Operator, shared};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Round;

impl Operator for Round {
    fn name(&self) -> &'static str {
        "Round"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise(site)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
