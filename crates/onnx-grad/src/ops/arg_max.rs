//! ArgMax: index of the largest element along an axis. It has no gradient.

use super::{Operator, shared_arg};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct ArgMax;

impl Operator for ArgMax {
    fn name(&self) -> &'static str {
        "ArgMax"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_arg::infer(site)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
