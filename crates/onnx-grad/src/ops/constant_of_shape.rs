//! ConstantOfShape: one number everywhere in a shape, which must be known. It has no gradient.

use super::{Operator, shared_axes};
use crate::attributes::find;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct ConstantOfShape;

impl Operator for ConstantOfShape {
    fn name(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        let sizes = site.ints(0)?.ok_or("input 0 is missing")?;
        Ok(vec![ValueType {
            element: fill(site)?.map_or(Element::F32, |own| own.element),
            shape: shared_axes::shape_of(&sizes)?,
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let number = match fill(site)?.and_then(|own| own.ints()).as_deref() {
            Some([number]) => *number,
            _ => return Ok(None),
        };
        let shape = self.infer(site)?.into_iter().flat_map(|own| own.shape);
        let dims: Option<Vec<u64>> = shape.map(Dim::fixed).collect();
        Ok(dims.and_then(|dims| filled(dims, number)))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}

/// The number in every place, if there are not too many.
pub(super) fn filled(dims: Vec<u64>, number: Int) -> Option<Tensor> {
    let times = |product: u64, size: &u64| product.checked_mul(*size);
    let count = dims.iter().try_fold(1, times)?;
    (count <= shared_axes::KNOWN_MAX as u64)
        .then(|| Tensor::sizes(dims, vec![number; count as usize]))
}

/// The number; a 0 in float32 where the node does not say.
fn fill(site: &Site<'_>) -> Result<Option<Tensor>, String> {
    let Some(proto) = find(site.proto, "value").and_then(|own| own.t.as_ref()) else {
        return Ok(None);
    };
    let tensor = Tensor::decode(proto, &Limits::default()).map_err(|error| error.to_string())?;
    match tensor.dims.iter().all(|size| *size == 1) {
        true => Ok(Some(tensor)),
        false => Err(format!(
            "its value has the shape {:?}, one number is expected",
            tensor.dims
        )),
    }
}
