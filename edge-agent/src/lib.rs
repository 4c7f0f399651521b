//! The agent that runs on a device.
//!
//! It keeps its data: what leaves it are signed, integer contributions. [`data`] reads the device's own
//! rows.

pub mod data;
pub mod ledger;
pub mod settings;
pub mod work;
