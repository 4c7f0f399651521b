//! Shared by the tests of this crate.

pub(crate) mod federation;
pub(crate) mod jaeger;
