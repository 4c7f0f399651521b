//! Sign: −1, 0 or 1. Its slope is 0, so it has no gradient.

use super::{Operator, shared};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Sign;

impl Operator for Sign {
    fn name(&self) -> &'static str {
        "Sign"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared::infer_elementwise_number(site)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
