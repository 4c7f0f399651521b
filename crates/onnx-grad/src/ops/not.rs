//! Not: where a mask is false. It has no gradient.

use super::shared_known::Known;
use super::{Operator, shared_logic};
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::ValueType;
use crate::tensor::Tensor;

pub(crate) struct Not;

impl Operator for Not {
    fn name(&self) -> &'static str {
        "Not"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_logic::infer_logic(site, 1)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let known = Known::mask(site.input(0)?);
        let inverse = known.and_then(|known| known.map(|own| Some(!own)));
        Ok(inverse.map(Known::<bool>::tensor))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
