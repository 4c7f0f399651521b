//! Shape: the sizes of a value from axis `start` to before axis `end`. It has no gradient.

use super::{Operator, shared_axes};
use crate::attributes::int_or;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Shape;

impl Operator for Shape {
    fn name(&self) -> &'static str {
        "Shape"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        Ok(vec![ValueType {
            element: Element::I64,
            shape: vec![Dim::Fixed(sizes(site)?.len() as u64)],
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        Ok(Some(shared_axes::known(sizes(site)?)))
    }

    fn differentiable(&self, _input: usize) -> bool {
        false
    }
}

fn sizes(site: &Site<'_>) -> Result<Vec<Int>, String> {
    let shape = site.input(0)?.shape();
    let rank = shape.len() as i64;
    let bound = |name: &str, default: i64| {
        // Before operator set 15 there were no bounds.
        let axis = match site.opset {
            ..15 => default,
            _ => int_or(site.proto, name, default),
        };
        let from_front = if axis < 0 {
            axis.saturating_add(rank)
        } else {
            axis
        };
        from_front.clamp(0, rank) as usize
    };
    let kept = shape.get(bound("start", 0)..bound("end", rank));
    Ok(kept
        .unwrap_or_default()
        .iter()
        .copied()
        .map(Int::from)
        .collect())
}
