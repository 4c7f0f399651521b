//! Values that are known when the model is read, and what operators make of them.
//!
//! Exporters compute shapes in the graph, so that these are few numbers, of which some may depend on the
//! size of the batch.

use super::shared_axes;
use crate::graph::{Site, Value};
use crate::shape::Int;
use crate::tensor::{Data, Tensor};

/// Known elements, row-major.
pub(super) struct Known<T> {
    dims: Vec<u64>,
    values: Vec<T>,
}

impl Known<Int> {
    /// The whole numbers of a value, where they are few, as the sizes of shapes are.
    pub(super) fn ints(value: &Value) -> Option<Self> {
        let few = |tensor: &&Tensor| tensor.count() <= shared_axes::KNOWN_MAX as u64;
        let tensor = value.constant.as_ref().filter(few)?;
        Some(Self {
            dims: tensor.dims.clone(),
            values: tensor.ints()?,
        })
    }

    pub(super) fn tensor(self) -> Tensor {
        Tensor::sizes(self.dims, self.values)
    }
}

impl Known<bool> {
    /// The elements of a mask.
    pub(super) fn mask(value: &Value) -> Option<Self> {
        let tensor = value.constant.as_ref()?;
        match &tensor.data {
            Data::Bool(values) => Some(Self {
                dims: tensor.dims.clone(),
                values: values.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn tensor(self) -> Tensor {
        Tensor::mask(self.dims, self.values)
    }
}

impl<T: Copy> Known<T> {
    /// The elements alone.
    pub(super) fn into_values(self) -> Vec<T> {
        self.values
    }

    /// What becomes of each element; none where one of them is not known any more.
    pub(super) fn map<U>(&self, change: impl Fn(T) -> Option<U>) -> Option<Known<U>> {
        let values = self.values.iter().copied().map(change);
        Some(Known {
            dims: self.dims.clone(),
            values: values.collect::<Option<Vec<U>>>()?,
        })
    }

    /// The elements at these places along each of the axes, which come in this order and are all of them.
    pub(super) fn picked(&self, axes: &[(usize, Vec<usize>)]) -> Option<Self> {
        let mut steps = vec![1; self.dims.len()];
        for axis in (1..self.dims.len()).rev() {
            steps[axis - 1] = steps[axis] * self.dims[axis] as usize;
        }
        let mut places = vec![0];
        for (axis, along) in axes {
            let step = steps.get(*axis)?;
            let next = |place: usize| along.iter().map(move |at| place + at * step);
            places = places.into_iter().flat_map(next).collect();
        }
        let values = places
            .into_iter()
            .map(|place| self.values.get(place).copied());
        Some(Self {
            dims: axes.iter().map(|(_, along)| along.len() as u64).collect(),
            values: values.collect::<Option<_>>()?,
        })
    }

    /// The elements of the two, combined. Either has the shape of the other or a single element:
    /// exporters make nothing else, and the rest is computed when the model runs.
    pub(super) fn zip<U: Copy, V>(
        &self,
        other: &Known<U>,
        combine: impl Fn(T, U) -> Option<V>,
    ) -> Option<Known<V>> {
        let (left, right) = (&self.dims, &other.dims);
        if left == right {
            let pairs = self.values.iter().zip(&other.values);
            return Some(Known {
                dims: left.clone(),
                values: pairs.map(|(a, b)| combine(*a, *b)).collect::<Option<_>>()?,
            });
        }
        match (&self.values[..], &other.values[..]) {
            (_, &[single]) if left.len() >= right.len() => self.map(|own| combine(own, single)),
            (&[single], _) if right.len() >= left.len() => other.map(|own| combine(single, own)),
            _ => None,
        }
    }
}

/// What an operator with two inputs makes of known whole numbers.
pub(super) fn of_two<T>(
    site: &Site<'_>,
    combine: impl Fn(Int, Int) -> Option<T>,
) -> Result<Option<Known<T>>, String> {
    let (left, right) = (Known::ints(site.input(0)?), Known::ints(site.input(1)?));
    Ok(left
        .zip(right)
        .and_then(|(left, right)| left.zip(&right, combine)))
}

/// The same with two masks.
pub(super) fn of_two_masks(
    site: &Site<'_>,
    combine: impl Fn(bool, bool) -> bool,
) -> Result<Option<Tensor>, String> {
    let (left, right) = (Known::mask(site.input(0)?), Known::mask(site.input(1)?));
    let known = left
        .zip(right)
        .and_then(|(left, right)| left.zip(&right, |a, b| Some(combine(a, b))));
    Ok(known.map(Known::<bool>::tensor))
}

/// The same with any number of inputs of whole numbers, from the first to the last.
pub(super) fn of_all(
    site: &Site<'_>,
    combine: impl Fn(Int, Int) -> Option<Int>,
) -> Result<Option<Tensor>, String> {
    let mut known = Known::ints(site.input(0)?);
    for index in 1..site.proto.input.len() {
        let next = Known::ints(site.input(index)?);
        known = known
            .zip(next)
            .and_then(|(known, next)| known.zip(&next, &combine));
    }
    Ok(known.map(Known::<Int>::tensor))
}
