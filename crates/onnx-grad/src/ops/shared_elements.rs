//! What GatherElements and ScatterElements do alike.

use super::{shared_axes, shared_index};
use crate::attributes::int_or;
use crate::graph::{Site, Value};
use crate::shape::{Dim, normalize_axis, show};

/// A value, indices of the same rank, and the axis along which they count.
pub(super) struct Elements<'a> {
    pub(super) data: &'a Value,
    pub(super) indices: &'a Value,
    pub(super) axis: usize,
    /// The axis's size in the value.
    pub(super) size: u64,
}

impl<'a> Elements<'a> {
    pub(super) fn new(site: &Site<'a>) -> Result<Self, String> {
        let (data, indices) = (site.input(0)?, shared_index::indices(site, 1)?);
        let (own, at) = (data.shape(), indices.shape());
        let axis = normalize_axis(int_or(site.proto, "axis", 0), own.len())?;
        let size = shared_axes::fixed_size(own, axis, "indexes along")?;
        // Along other axes indices may leave out the end of a value, but not examples.
        let fits = |(along, (at, own)): (usize, (&Dim, &Dim))| match (at, own) {
            _ if along == axis => true,
            (Dim::Fixed(at), Dim::Fixed(own)) => at <= own,
            _ => at == own,
        };
        if own.len() != at.len() || !at.iter().zip(own).enumerate().all(fits) {
            return Err(format!(
                "its indices {} do not fit {} along axis {axis}",
                show(at),
                show(own)
            ));
        }
        Ok(Self {
            data,
            indices,
            axis,
            size,
        })
    }
}
