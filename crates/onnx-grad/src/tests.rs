//! Tests over whole models.

use crate::{ForwardModel, Limits};

mod foreign;
mod hostile;

fn parse(bytes: &[u8]) -> Result<ForwardModel, crate::ModelError> {
    ForwardModel::parse(bytes, &Limits::default())
}
