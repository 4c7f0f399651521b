//! Gather: `y = x` at some indices along an axis; a lookup in a table where the axis is 0. Saves the
//! indices.

use super::shared_index::{add_along_axis, add_to_rows, as_int64, indices, known_indices};
use super::{InputGradients, Operator, shared_axes};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::limits::Limits;
use crate::shape::{Dim, Int, ValueType, as_reshape, batch_axis, normalize_axis};
use crate::tensor::Tensor;

pub(crate) struct Gather;

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let lookup = Lookup::new(site)?;
        known_indices(lookup.indices, lookup.size)?;
        let mut shape = lookup.data.shape().clone();
        let own = lookup.indices.shape().iter().copied();
        shape.splice(lookup.axis..=lookup.axis, own);
        shared_axes::moved_into(site, shape)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let lookup = Lookup::new(site)?;
        let at = known_indices(lookup.indices, lookup.size)?;
        let (Some(values), Some(at)) = (shared_axes::known_list(site, 0), at) else {
            return Ok(None);
        };
        let found: Option<Vec<Int>> = at
            .into_iter()
            .map(|index| values.get(index as usize).copied())
            .collect();
        let dims = lookup.indices.constant.as_ref().map(|own| own.dims.clone());
        Ok(found
            .zip(dims)
            .map(|(found, dims)| Tensor::sizes(dims, found)))
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` added at the indices to zeros: by one Pad where they are known and follow one another,
    /// by a product with one-hot rows where `x` has the batch, else by ScatterND.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let lookup = Lookup::new(site)?;
        let known = known_indices(lookup.indices, lookup.size)?;
        if let Some((first, count)) = known.as_deref().and_then(run) {
            return Ok(vec![Some(lookup.pad(upstream, first, count, graph))]);
        }
        if batch_axis(lookup.data.shape()).is_some() {
            return lookup.product(upstream, graph);
        }
        Ok(vec![Some(lookup.scatter(site, upstream, graph))])
    }
}

struct Lookup<'a> {
    data: &'a Value,
    indices: &'a Value,
    axis: usize,
    /// The axis's size.
    size: u64,
}

impl<'a> Lookup<'a> {
    fn new(site: &Site<'a>) -> Result<Self, String> {
        let (data, indices) = (site.input(0)?, indices(site, 1)?);
        let axis = normalize_axis(int_or(site.proto, "axis", 0), data.shape().len())?;
        let size = shared_axes::fixed_size(data.shape(), axis, "looks up along")?;
        Ok(Self {
            data,
            indices,
            axis,
            size,
        })
    }

    /// The upstream gradient's shape with the indices, if they have no batch, in one axis.
    fn merged(&self) -> Vec<Dim> {
        let mut merged = self.data.shape().clone();
        let sizes = self.indices.shape().iter().filter_map(|dim| dim.fixed());
        merged[self.axis] = Dim::Fixed(sizes.product());
        merged
    }

    fn pad(&self, upstream: &str, first: u64, count: u64, graph: &mut GraphBuilder) -> String {
        let mut value = upstream.to_owned();
        if self.indices.shape().len() != 1 {
            value = graph.reshape(upstream, &as_reshape(&self.merged()));
        }
        let rank = self.data.shape().len();
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        before[self.axis] = first as i64;
        after[self.axis] = (self.size - first - count) as i64;
        graph.pad(&value, &before, &after)
    }

    fn product(&self, upstream: &str, graph: &mut GraphBuilder) -> Result<InputGradients, String> {
        let merged = self.merged();
        let mut value = upstream.to_owned();
        if self.indices.shape().len() != 1 {
            value = graph.reshape(upstream, &as_reshape(&merged));
        }
        let table = (self.indices, self.size);
        let sum = add_along_axis(&value, &merged, self.axis, table, graph)?;
        Ok(vec![Some(sum)])
    }

    fn scatter(&self, site: &Site<'_>, upstream: &str, graph: &mut GraphBuilder) -> String {
        let indices = as_int64(self.indices, graph);
        let mut rows = self.data.shape().clone();
        if self.axis == 0 {
            return add_to_rows(site, &rows, &indices, upstream, graph);
        }
        // The axes before the one of the lookup go behind the indices, and back in the sum.
        let (before, many) = (self.axis as i64, self.indices.shape().len() as i64);
        let rank = rows.len() as i64 - 1 + many;
        let order: Vec<i64> = (before..before + many)
            .chain(0..before)
            .chain(before + many..rank)
            .collect();
        let upstream = graph.transpose(upstream, &order);
        rows[..=self.axis].rotate_right(1);
        let sum = add_to_rows(site, &rows, &indices, &upstream, graph);
        let back: Vec<i64> = (1..=before)
            .chain([0])
            .chain(before + 1..rows.len() as i64)
            .collect();
        graph.transpose(&sum, &back)
    }
}

/// First index and number of indices that follow one another.
fn run(known: &[u64]) -> Option<(u64, u64)> {
    let first = *known.first()?;
    let follows = known.iter().copied().eq((first..).take(known.len()));
    follows.then_some((first, known.len() as u64))
}
