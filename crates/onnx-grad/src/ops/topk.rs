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

    /// The model may leave out the indices, which the gradient needs.
    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let Some(values) = site.optional_output(0) else {
            return Ok(false);
        };
        let mut node = site.proto.clone();
        let indices = match site.optional_output(1) {
            Some(own) => own.name.clone(),
            None => graph.fresh("fl.indices"),
        };
        node.output = vec![values.name.clone(), indices.clone()];
        graph.nodes.push(node);
        graph.save(&values.name, INDICES, indices);
        Ok(true)
    }

    /// `dx` is `dy` among zeros, at the indices.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let indices = graph.saved(&site.output()?.name, INDICES)?;
        let zeros = graph.zeros_like(site.input(0)?);
        let axis = int("axis", axis(site)? as i64);
        Ok(vec![Some(graph.node(
            "ScatterElements",
            &[&zeros, &indices, upstream],
            &[axis],
        ))])
    }
}

const INDICES: &str = "indices";

fn axis(site: &Site<'_>) -> Result<usize, String> {
    let rank = site.input(0)?.shape().len();
    normalize_axis(int_or(site.proto, "axis", -1), rank)
}
