//! Tests over whole models.

use crate::{ForwardModel, Limits};

mod convolution;
mod einsum;
mod elementwise;
mod foreign;
mod hostile;
mod indexing;
mod recurrent;
mod reductions;
mod resampling;
mod rewired;
mod shapes;

fn parse(bytes: &[u8]) -> Result<ForwardModel, crate::ModelError> {
    ForwardModel::parse(bytes, &Limits::default())
}
