//! TopK: the `k` largest or smallest values along an axis, and their indices, which have no gradient. Saves
//! the indices.

use super::{InputGradients, Operator, shared_axes};
use crate::attributes::{int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Element, Int, ValueType, normalize_axis, show};

pub(crate) struct TopK;

impl Operator for TopK {
    fn name(&self) -> &'static str {
        "TopK"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let mut shape = site.float(0)?.shape().clone();
        let axis = axis(site)?;
        let size = shared_axes::fixed_size(&shape, axis, "compares along")?;
        let count = match shared_axes::known_number(site, 1)? {
            Int::Fixed(count @ 1..) if count as u64 <= size => count as u64,
            other => {
                return Err(format!("takes {other} of axis {axis} of {}", show(&shape)));
            }
        };
        shape[axis] = Dim::Fixed(count);
        let element = Element::I64;
        let indices = ValueType {
            element,
            shape: shape.clone(),
        };
        Ok(vec![ValueType::f32(shape), indices])
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` among zeros, at the indices.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let indices = site.optional_output(1).ok_or("its indices are left out")?;
        let zeros = graph.zeros_like(site.input(0)?);
        let axis = int("axis", axis(site)? as i64);
        Ok(vec![Some(graph.node(
            "ScatterElements",
            &[&zeros, &indices.name, upstream],
            &[axis],
        ))])
    }
}

fn axis(site: &Site<'_>) -> Result<usize, String> {
    let rank = site.input(0)?.shape().len();
    normalize_axis(int_or(site.proto, "axis", -1), rank)
}
