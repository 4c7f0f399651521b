//! The agent that runs on a device.
//!
//! It keeps its data: what leaves it are signed contributions of integers, made the same way with and
//! without a federation.
//!
//! - [`data`] reads the device's own rows out of a CSV file or of the [`ring`] of what a command prints,
//!   which [`feed`] runs.
//! - [`work`] computes statistics, training and evaluation on them.
//! - [`ledger`] keeps what must outlive the process.
//! - [`run`] takes part in rounds; [`local`] trains and tests without them, [`personal`] writes what a device has
//!   beyond them.
//! - [`init`] makes a home, [`settings`] reads it, [`check`] judges it.
//!
//! No raw row is in any message, log line or span.

pub mod check;
pub mod cli;
pub mod data;
pub mod feed;
pub mod init;
pub mod ledger;
pub mod local;
pub mod personal;
pub mod ring;
pub mod run;
mod say;
pub mod settings;
pub mod work;
