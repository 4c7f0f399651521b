//! And: where both masks are true, broadcasting. It has no gradient.

use super::{Operator, shared_known, shared_logic};
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::ValueType;
use crate::tensor::Tensor;

pub(crate) struct And;

impl Operator for And {
    fn name(&self) -> &'static str {
        "And"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_logic::infer_logic(site, 2)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_known::of_two_masks(site, |a, b| a && b)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
