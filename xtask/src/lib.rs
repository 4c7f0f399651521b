//! Tributary's development commands, and what they share with the end-to-end tests: finding and
//! fetching servers, and supervising processes.

pub mod bench;
pub mod demo;
pub mod digest;
pub mod docker;
pub mod fetch;
pub mod processes;
pub mod supply_chain;
pub mod testing;
pub mod tidy;
pub mod tract;
pub mod workspace;

pub use fl_guard as guard;
