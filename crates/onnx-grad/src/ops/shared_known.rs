//! Values that are known when the model is read, and what operators make of them.
//!
//! Exporters compute shapes in the graph, so that these are few numbers, of which some may depend on the
//! size of the batch.

use crate::graph::{Site, Value};
use crate::shape::Int;
use crate::tensor::{Data, Tensor};

/// Known elements, row-major.
pub(super) struct Known<T> {
    dims: Vec<u64>,
    values: Vec<T>,
}

impl Known<Int> {
    /// The whole numbers of a value.
    pub(super) fn ints(value: &Value) -> Option<Self> {
        let tensor = value.constant.as_ref()?;
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
    /// What becomes of each element; none where one of them is not known any more.
    pub(super) fn map<U>(&self, change: impl Fn(T) -> Option<U>) -> Option<Known<U>> {
        let values = self.values.iter().copied().map(change);
        Some(Known {
            dims: self.dims.clone(),
            values: values.collect::<Option<Vec<U>>>()?,
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
