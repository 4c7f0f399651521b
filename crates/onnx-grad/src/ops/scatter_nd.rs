//! ScatterND: a value in which parts are replaced, or added to, at positions; a position is the last axis
//! of the indices. Saves the indices. Where positions repeat and parts are replaced, the result is not
//! defined, and neither is the gradient.

use super::{InputGradients, Operator, shared_axes, shared_index, shared_scatter};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, ValueType, show};

pub(crate) struct ScatterND;

impl Operator for ScatterND {
    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        shared_scatter::adds(site)?;
        let data = &site.input(0)?.value_type;
        let updates = &site.input(2)?.value_type;
        let (shape, indices) = (&data.shape, shared_index::indices(site, 1)?.shape());
        let misfit = || {
            format!(
                "its indices {} and updates {} do not fit {}",
                show(indices),
                show(&updates.shape),
                show(shape)
            )
        };
        let Some((Dim::Fixed(axes), outer)) = indices.split_last() else {
            return Err(misfit());
        };
        let axes = usize::try_from(*axes).unwrap_or(usize::MAX);
        for axis in 0..axes.min(shape.len()) {
            shared_axes::fixed_size(shape, axis, "scatters along")?;
        }
        if let Some(axis) = crate::shape::batch_axis(outer) {
            // Parts of all examples would meet in one value.
            shared_axes::fixed_size(outer, axis, "scatters by indices along")?;
        }
        let parts = shape.get(axes..).ok_or_else(misfit)?;
        if [outer, parts].concat() != updates.shape || updates.element != data.element {
            return Err(misfit());
        }
        shared_axes::moved_into(site, shape.clone())
    }

    fn differentiable(&self, input: usize) -> bool {
        input != 1
    }

    /// `dx = dy`, without the parts that were replaced; the updates' is `dy` at the positions.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let indices = shared_index::as_int64(site.input(1)?, graph);
        shared_scatter::gradients(
            site,
            upstream,
            graph,
            |graph| graph.node("GatherND", &[upstream, &indices], &[]),
            |zeros, graph| graph.node("ScatterND", &[upstream, &indices, zeros], &[]),
        )
    }
}
