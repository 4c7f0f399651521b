//! Why a device has no contribution to a phase.

use fl_model::{GridError, Reason};
use onnx_train::TrainError;

use crate::data::DataError;

/// A reason for the protocol, and the same for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What the fog, the trace and the metrics show.
    pub reason: Reason,
    /// What happened and what to do.
    pub detail: String,
}

impl Failure {
    /// A failure with its explanation.
    pub fn new(reason: Reason, detail: impl ToString) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::new(Reason::DataUnusable, error)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let reason = match &error {
            TrainError::Diverged { .. } | TrainError::NotFinite { .. } => Reason::Diverged,
            _ => Reason::ModelUnusable,
        };
        Self::new(reason, error)
    }
}

impl From<GridError> for Failure {
    fn from(error: GridError) -> Self {
        let reason = match &error {
            GridError::NotFinite { .. } => Reason::Diverged,
            GridError::Tensors { .. } => Reason::ModelUnusable,
        };
        Self::new(reason, error)
    }
}
