//! GatherND: parts of a value at positions, which are the last axis of the indices; with `batch_dims` 1 in
//! each row of the value by its own indices. Saves the indices.

use super::shared_axes::{self, merged_size};
use super::{InputGradients, Operator, shared_index};
use crate::attributes::{int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::shape::{Dim, Shape, ValueType, as_reshape, show};

pub(crate) struct GatherND;

impl Operator for GatherND {
    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let parts = Parts::new(site)?;
        let mut shape = parts.outer.to_vec();
        shape.extend(parts.part);
        shared_axes::moved_into(site, shape)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is `dy` added to zeros at the positions.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let parts = Parts::new(site)?;
        let indices = shared_index::as_int64(parts.indices, graph);
        if !shared_index::can_add(site) {
            return Ok(vec![Some(parts.product(&indices, upstream, graph))]);
        }
        let positions = match parts.batched {
            true => parts.whole_positions(&indices, graph),
            false => indices,
        };
        let sum = shared_index::scatter_nd(parts.data, &positions, upstream, graph);
        Ok(vec![Some(sum)])
    }
}

struct Parts<'a> {
    data: &'a Value,
    indices: &'a Value,
    /// Whether `batch_dims` is 1.
    batched: bool,
    /// The indices' axes but the last.
    outer: &'a [Dim],
    /// Sizes of the axes that a position counts along.
    indexed: Vec<u64>,
    /// Axes of one part.
    part: &'a [Dim],
}

impl<'a> Parts<'a> {
    fn new(site: &Site<'a>) -> Result<Self, String> {
        let (data, indices) = (site.input(0)?, shared_index::indices(site, 1)?);
        let (own, at) = (data.shape(), indices.shape());
        let misfit = || format!("its indices {} do not fit {}", show(at), show(own));
        let batched = match int_or(site.proto, "batch_dims", 0) {
            0 => false,
            1 => true,
            other => return Err(format!("has {other} batch_dims; supported are 0 and 1")),
        };
        let skipped = usize::from(batched);
        let Some((Dim::Fixed(axes), outer)) = at.split_last() else {
            return Err(misfit());
        };
        let axes = usize::try_from(*axes).unwrap_or(usize::MAX);
        let end = axes.checked_add(skipped).ok_or_else(misfit)?;
        if batched && (own.first() != outer.first() || outer.is_empty()) || end == skipped {
            return Err(misfit());
        }
        let part = own.get(end..).ok_or_else(misfit)?;
        let indexed = skipped..end;
        let size = |axis| shared_axes::fixed_size(own, axis, "looks up along");
        Ok(Self {
            data,
            indices,
            batched,
            outer,
            indexed: indexed.map(size).collect::<Result<_, _>>()?,
            part,
        })
    }

    /// Positions that begin with the number of the row, as ScatterND has no `batch_dims`.
    fn whole_positions(&self, indices: &str, graph: &mut GraphBuilder) -> String {
        let mut column: Shape = self.indices.shape().clone();
        let last = column.len() - 1;
        column[last] = Dim::Fixed(1);
        let mut numbers = shared_index::example_numbers(self.data, column.len(), graph);
        // The first axis is there already.
        column[0] = Dim::Fixed(1);
        if column.iter().any(|dim| *dim != Dim::Fixed(1)) {
            let sizes = graph.integers(&as_reshape(&column));
            numbers = graph.node("Expand", &[&numbers, &sizes], &[]);
        }
        graph.node("Concat", &[&numbers, indices], &[int("axis", -1)])
    }

    /// The same for operator sets whose ScatterND cannot add: a product with one-hot positions, counted
    /// through all indexed axes.
    fn product(&self, indices: &str, upstream: &str, graph: &mut GraphBuilder) -> String {
        let sizes: Vec<i64> = self.indexed.iter().map(|size| *size as i64).collect();
        let total: i64 = sizes.iter().product();
        let steps = (1..=sizes.len()).map(|from| sizes[from..].iter().product());
        let [sizes, steps] = [sizes.clone(), steps.collect()].map(|own| graph.integers(&own));
        // Positions that count from the end become such from the front.
        let positions = graph.node("Mod", &[indices, &sizes], &[]);
        let places = graph.node("Mul", &[&positions, &steps], &[]);
        let places = graph.reduce_sum(&places, &[-1], false);
        let rows = match self.batched {
            true => as_reshape(&self.outer[..1]),
            false => Vec::new(),
        };
        // Without rows, the batch may be among the positions.
        let count = merged_size(&self.outer[rows.len()..]);
        let width = merged_size(self.part);
        let with = |tail: &[i64]| [&rows[..], tail].concat();
        let places = graph.reshape(&places, &with(&[count]));
        let hot = shared_index::one_hot(&places, total as u64, rows.len() as i64, graph);
        let updates = graph.reshape(upstream, &with(&[count, width]));
        let sum = graph.node("MatMul", &[&hot, &updates], &[]);
        graph.reshape(&sum, &as_reshape(self.data.shape()))
    }
}
