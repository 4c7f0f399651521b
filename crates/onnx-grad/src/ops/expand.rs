//! Expand: a value repeated as broadcasting to a known shape does it. Saves nothing.

use super::{InputGradients, Operator, constant_of_shape, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Shape, ValueType, broadcast};
use crate::tensor::Tensor;

pub(crate) struct Expand;

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        shared_axes::moved_into(site, broadcast(site.input(0)?.shape(), &target(site)?)?)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let known = site.input(0)?.constant.as_ref().and_then(Tensor::ints);
        let Some([number]) = known.as_deref() else {
            return Ok(None);
        };
        let shape = broadcast(site.input(0)?.shape(), &target(site)?)?;
        let dims: Option<Vec<u64>> = shape.into_iter().map(Dim::fixed).collect();
        Ok(dims.and_then(|dims| constant_of_shape::filled(dims, *number)))
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// The shape as a constant, where the batch need not be known for it: 1 keeps an axis as it is.
    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        let own = site.input(0)?;
        let target = target(site)?;
        let added = target.len().saturating_sub(own.shape().len());
        let missing = own.shape().len().saturating_sub(target.len());
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => Some(*size as i64),
            Dim::Batch(_) => {
                let at = (axis + missing).checked_sub(added)?;
                (own.shape().get(at) == Some(dim)).then_some(1)
            }
        };
        let sizes: Option<Vec<i64>> = target.iter().enumerate().map(size).collect();
        let (Some(sizes), Some(output)) = (sizes, site.optional_output(0)) else {
            return Ok(false);
        };
        let sizes = graph.integers(&sizes);
        graph.node_into("Expand", &[&own.name, &sizes], &[], output.name.clone());
        Ok(true)
    }

    /// `dx` is `dy` summed over what was repeated.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (from, to) = (site.output()?.shape(), site.input(0)?.shape());
        Ok(vec![Some(graph.unbroadcast(upstream, from, to))])
    }
}

fn target(site: &Site<'_>) -> Result<Shape, String> {
    shared_axes::shape_of(&site.ints(1)?.ok_or("input 1 is missing")?)
}
