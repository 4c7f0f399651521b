//! Tests over whole models.

use crate::{ForwardModel, Limits};

mod bounds;
mod convolution;
mod einsum;
mod elementwise;
mod foreign;
mod hostile;
mod indexing;
mod lora;
mod recurrent;
mod reductions;
mod resampling;
mod rewired;
mod scikit;
mod shapes;

fn parse(bytes: &[u8]) -> Result<ForwardModel, crate::ModelError> {
    ForwardModel::parse(bytes, &Limits::default())
}
