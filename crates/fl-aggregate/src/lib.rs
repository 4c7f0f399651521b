//! Exact sums, and what the root makes of them.
//!
//! A sum holds integers only: merging is addition, so it has the same bits in any order of arrival,
//! over any tree of fogs, and after any crash and replay. Real arithmetic happens once, at the root,
//! in `f64` with + − × ÷ and √ only, so that it has the same bits on every platform.

mod exact_sum;
mod server;

pub use exact_sum::{ExactSum, SumError};
pub use server::{Moments, ServerStep, StepError};
