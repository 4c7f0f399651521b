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
    /// What happened and what to do, for the device's own terminal: it may quote a cell.
    pub detail: String,
    /// The same for those who look from outside, with nothing of the device's rows in it.
    pub told: String,
}

impl Failure {
    /// A failure whose explanation holds nothing of the device's rows.
    pub fn new(reason: Reason, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self::in_private(reason, &detail, detail.clone())
    }

    /// A failure whose explanation stays on the device; `told` is what others read.
    pub fn in_private(reason: Reason, detail: impl ToString, told: String) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
            told,
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let told = error.told();
        Self::in_private(Reason::DataUnusable, error, told)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let reason = match &error {
            TrainError::Diverged { .. } | TrainError::NotFinite { .. } => Reason::Diverged,
            TrainError::Weightless(_) => Reason::DataUnusable,
            _ => Reason::ModelUnusable,
        };
        match &error {
            // It may quote indices of the rows.
            #[cfg(feature = "tract")]
            TrainError::TractRun(_) => {
                let told = "tract failed in a step of this model: the agent's log says why";
                Self::in_private(reason, error, told.to_owned())
            }
            // It names the labels that are there.
            TrainError::Weightless(_) => Self::in_private(
                reason,
                error,
                "no training row counts anything: the agent's log says why".to_owned(),
            ),
            _ => Self::new(reason, error),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_without_weight_are_not_told() {
        let of_class = "every row is of class \"ill\", which counts 0".to_owned();
        let failure = Failure::from(TrainError::Weightless(of_class));
        assert_eq!(failure.reason, Reason::DataUnusable);
        assert!(failure.detail.contains("ill"), "{failure}");
        assert!(!failure.told.contains("ill"), "{}", failure.told);
        assert!(failure.told.contains("agent's log"), "{}", failure.told);
    }
}
