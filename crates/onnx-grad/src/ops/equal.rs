//! Equal: whether `a = b`, broadcasting, of numbers or of masks. It has no gradient.

use super::{Operator, shared_known, shared_logic};
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Equal;

impl Operator for Equal {
    fn name(&self) -> &'static str {
        "Equal"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        match site.input(0)?.value_type.element {
            Element::Bool => shared_logic::infer_logic(site, 2),
            _ => shared_logic::infer_comparison(site),
        }
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        match site.input(0)?.value_type.element {
            Element::Bool => shared_known::of_two_masks(site, |a, b| a == b),
            _ => shared_logic::known_comparison(site, Int::equals),
        }
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
