//! Concat: values one behind the other along an axis. Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::attributes::{find, int};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::proto::AttributeProto;
use crate::shape::{Dim, Element, Int, ValueType, normalize_axis, show};
use crate::tensor::{Data, Tensor};

pub(crate) struct Concat;

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let (axis, sizes) = parts(site)?;
        let mut shape = site.input(0)?.shape().clone();
        let total = sizes
            .iter()
            .try_fold(0u64, |sum, size| sum.checked_add(*size));
        shape[axis] = Dim::Fixed(total.ok_or("its sizes overflow")?);
        shared_axes::moved_into(site, shape)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let (_, sizes) = parts(site)?;
        if let Some(joined) = known_floats(site, sizes.len()) {
            return Ok(Some(joined));
        }
        let lists = (0..sizes.len()).map(|index| shared_axes::known_list(site, index));
        let lists: Option<Vec<Vec<Int>>> = lists.collect();
        Ok(lists
            .map(|lists| lists.concat())
            .filter(|joined| joined.len() <= shared_axes::KNOWN_MAX)
            .map(shared_axes::known))
    }

    /// Each input's gradient is its part of `dy`: a Slice where one is wanted, else all by one Split.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (axis, sizes) = parts(site)?;
        let sizes: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
        let wanted: Vec<usize> = (0..sizes.len())
            .filter(|index| site.wants(*index))
            .collect();
        let mut gradients = vec![None; sizes.len()];
        if let [index] = wanted[..] {
            let start = sizes[..index].iter().sum();
            gradients[index] =
                Some(graph.slice(upstream, &[axis as i64], &[start], &[start + sizes[index]]));
            return Ok(gradients);
        }
        let operand = graph.integers(&sizes);
        let axis = [int("axis", axis as i64)];
        let pieces = graph.node_outputs("Split", &[upstream, &operand], &axis, sizes.len());
        for (index, piece) in pieces.into_iter().enumerate() {
            gradients[index] = site.wants(index).then_some(piece);
        }
        Ok(gradients)
    }
}

/// The axis, and every input's size along it.
fn parts(site: &Site<'_>) -> Result<(usize, Vec<u64>), String> {
    let first = site.input(0)?;
    let axis = find(site.proto, "axis").map(AttributeProto::i);
    let axis = normalize_axis(axis.ok_or("has no axis")?, first.shape().len())?;
    let element = shared_axes::moved_element(site, 0)?;
    let mut sizes = Vec::with_capacity(site.proto.input.len());
    for index in 0..site.proto.input.len() {
        let own = site.input(index)?;
        let others = |shape: &[Dim]| {
            let mut rest = shape.to_vec();
            (axis < rest.len()).then(|| rest.remove(axis)).map(|_| rest)
        };
        if own.value_type.element != element || others(own.shape()) != others(first.shape()) {
            return Err(format!(
                "cannot join {} to {} along axis {axis}",
                show(own.shape()),
                show(first.shape())
            ));
        }
        sizes.push(shared_axes::fixed_size(own.shape(), axis, "joins along")?);
    }
    Ok((axis, sizes))
}

/// The inputs joined, where all are known lists of float32: the scales of a Resize come so.
fn known_floats(site: &Site<'_>, count: usize) -> Option<Tensor> {
    let mut joined = Vec::new();
    for index in 0..count {
        let tensor = site.optional(index)?.constant.as_ref()?;
        if tensor.dims.len() != 1 {
            return None;
        }
        joined.extend_from_slice(tensor.floats()?);
    }
    (joined.len() <= shared_axes::KNOWN_MAX).then(|| Tensor {
        element: Element::F32,
        dims: vec![joined.len() as u64],
        data: Data::F32(joined),
    })
}
