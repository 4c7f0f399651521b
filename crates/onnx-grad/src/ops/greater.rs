//! Greater: whether `a > b`, broadcasting. It has no gradient.

use super::{Operator, shared_logic};
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::ValueType;
use crate::tensor::Tensor;

pub(crate) struct Greater;

impl Operator for Greater {
    fn name(&self) -> &'static str {
        "Greater"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_logic::infer_comparison(site)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_logic::known_comparison(site, |a, b| Some(!b.at_least(a)?))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
