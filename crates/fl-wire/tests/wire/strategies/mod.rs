//! Arbitrary values of every body and object.

mod ids;
mod messages;
mod plan;
mod sums;

pub(crate) use messages::*;
pub(crate) use plan::plan;
pub(crate) use sums::{contribution, log_entry, moments, parameters, partial, snapshot};

use std::sync::OnceLock;

use crate::{properties, samples};

/// The sealed samples, made once.
pub(crate) fn sample_bytes() -> &'static [Vec<u8>] {
    static BYTES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BYTES.get_or_init(|| {
        samples::messages()
            .into_iter()
            .map(|sample| sample.bytes)
            .collect()
    })
}

/// The bodies of the samples, and the objects.
pub(crate) fn sample_bodies() -> &'static [Vec<u8>] {
    static BODIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BODIES.get_or_init(|| {
        let bodies = sample_bytes()
            .iter()
            .map(|bytes| properties::body_of(bytes));
        let objects = samples::objects().into_iter().map(|(_, bytes)| bytes);
        bodies.chain(objects).collect()
    })
}
