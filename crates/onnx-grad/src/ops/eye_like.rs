//! EyeLike: ones on a diagonal, in the shape of another matrix. It has no gradient.

use super::{Operator, shared_axes};
use crate::attributes::find;
use crate::graph::Site;
use crate::shape::{Element, ValueType, show};

pub(crate) struct EyeLike;

impl Operator for EyeLike {
    fn name(&self) -> &'static str {
        "EyeLike"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        let like = &site.input(0)?.value_type;
        if like.shape.len() != 2 {
            return Err(format!(
                "its input is {}, a matrix is expected",
                show(&like.shape)
            ));
        }
        for axis in 0..2 {
            shared_axes::fixed_size(&like.shape, axis, "puts a diagonal over")?;
        }
        let element = match find(site.proto, "dtype").map(|own| own.i()) {
            Some(to) => i32::try_from(to)
                .ok()
                .and_then(Element::from_proto)
                .ok_or_else(|| format!("makes the unsupported element type {to}"))?,
            None => like.element,
        };
        Ok(vec![ValueType {
            element,
            shape: like.shape.clone(),
        }])
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}
