//! ScatterElements: a value in which elements are replaced, or added to, at indices along an axis. Saves
//! the indices. Where indices repeat and elements are replaced, the result is not defined, and neither is
//! the gradient.

use super::shared_elements::Elements;
use super::shared_index::as_int64;
use super::{InputGradients, Operator, shared_axes, shared_scatter};
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{ValueType, show};

pub(crate) struct ScatterElements;

impl Operator for ScatterElements {
    fn name(&self) -> &'static str {
        "ScatterElements"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        shared_scatter::adds(site)?;
        let elements = Elements::new(site)?;
        let updates = &site.input(2)?.value_type;
        let same_element = updates.element == elements.data.value_type.element;
        if &updates.shape != elements.indices.shape() || !same_element {
            return Err(format!(
                "its updates are {}, {} is expected as of the indices, in the type of the value",
                show(&updates.shape),
                show(elements.indices.shape())
            ));
        }
        shared_axes::moved_into(site, elements.data.shape().clone())
    }

    fn differentiable(&self, input: usize) -> bool {
        input != 1
    }

    /// `dx = dy`, without the elements that were replaced; the updates' is `dy` at the indices.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let elements = Elements::new(site)?;
        let indices = as_int64(elements.indices, graph);
        let axis = [int("axis", elements.axis as i64)];
        shared_scatter::gradients(
            site,
            upstream,
            graph,
            |graph| graph.node("GatherElements", &[upstream, &indices], &axis),
            |zeros, graph| graph.node("ScatterElements", &[upstream, &indices, zeros], &axis),
        )
    }
}
