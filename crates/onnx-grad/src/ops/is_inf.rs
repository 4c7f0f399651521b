//! IsInf: whether an element is infinite, of either sign or one. It has no gradient.

use super::{Operator, shared_logic};
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct IsInf;

impl Operator for IsInf {
    fn name(&self) -> &'static str {
        "IsInf"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        site.float(0)?;
        shared_logic::masks(site, 1)
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
