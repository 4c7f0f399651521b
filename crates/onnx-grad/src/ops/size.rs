//! Size: the number of elements of a value. It has no gradient.

use super::Operator;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Size;

impl Operator for Size {
    fn name(&self) -> &'static str {
        "Size"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        site.input(0)?;
        Ok(vec![ValueType {
            element: Element::I64,
            shape: Vec::new(),
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let dims = site.input(0)?.shape().iter().copied();
        let times = |product: Int, dim: Dim| product.times(Int::from(dim));
        let count = dims.into_iter().try_fold(Int::Fixed(1), times);
        Ok(count.map(|count| Tensor::sizes(Vec::new(), vec![count])))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
