//! GatherElements: `y[i][j] = x[index[i][j]][j]` along axis 0, and so along others. Saves the indices.

use super::shared_elements::Elements;
use super::shared_index::{as_int64, can_add, one_hot};
use super::{InputGradients, Operator, shared_axes};
use crate::attributes::{int, text};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, ValueType};

pub(crate) struct GatherElements;

impl Operator for GatherElements {
    fn name(&self) -> &'static str {
        "GatherElements"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        shared_axes::moved_into(site, Elements::new(site)?.indices.shape().clone())
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` added to zeros at the same places.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let elements = Elements::new(site)?;
        let indices = as_int64(elements.indices, graph);
        if !can_add(site) {
            let sum = add_by_one_hot(&elements, &indices, upstream, graph);
            return Ok(vec![Some(sum)]);
        }
        let zeros = graph.zeros_like(elements.data);
        let attributes = [int("axis", elements.axis as i64), text("reduction", "add")];
        Ok(vec![Some(graph.node(
            "ScatterElements",
            &[&zeros, &indices, upstream],
            &attributes,
        ))])
    }
}

/// The same for operator sets whose ScatterElements cannot add: `dy` by one-hot indices, summed.
fn add_by_one_hot(
    elements: &Elements<'_>,
    indices: &str,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> String {
    let axis = elements.axis as i64;
    let hot = one_hot(indices, elements.size, axis, graph);
    let axes = graph.integers(&[axis]);
    let upstream = graph.node("Unsqueeze", &[upstream, &axes], &[]);
    let placed = graph.node("Mul", &[&hot, &upstream], &[]);
    let sum = graph.reduce_sum(&placed, &[axis + 1], false);
    let pairs = elements.data.shape().iter().zip(elements.indices.shape());
    let left_out = pairs.enumerate().map(|(along, pair)| match pair {
        (Dim::Fixed(own), Dim::Fixed(at)) if along != elements.axis => *own as i64 - *at as i64,
        _ => 0,
    });
    let after: Vec<i64> = left_out.collect();
    graph.pad(&sum, &vec![0; after.len()], &after)
}
