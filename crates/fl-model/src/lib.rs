//! Names, units, plans, grids and parameter sets of a federation.

mod training;

pub use training::{LocalOptimizer, Loss, TrainingSpec};
