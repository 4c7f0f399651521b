//! What a device computes: the same code for rounds, for training alone and for evaluation.
//!
//! Statistics → normalisation → training → protection, and evaluation: data and parameters in, integers
//! out. No file, no clock and no socket.

mod failure;
mod protect;
mod workshop;

pub use failure::Failure;
pub(crate) use protect::add;
pub use protect::{Protected, check_weight, protect};
pub use workshop::{View, Workshop, counters, raw_inputs, statistics, targets, training_seed};
