//! What a region reports: one exact sum, and who is in it.

use crate::contribution::Reason;
use crate::ids::{DeviceId, Epoch, RegionId, RoundKey};
use crate::statistics::{EvaluationCounters, FeatureStatistics};

/// Σ w·q over updates, with the figures that go with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateSum {
    /// Σ w·q per tensor and coordinate.
    pub wq: Vec<Vec<i64>>,
    /// Σ w.
    pub weight: u64,
    /// Updates added.
    pub updates: u64,
    /// Training examples.
    pub examples: u64,
    /// Sum of the losses over the examples, in [`crate::FixedPoint::LOSS_STEPS`].
    pub loss: i128,
    /// Largest magnitude exponent per tensor.
    pub magnitudes: Vec<i16>,
    /// Saturated coordinates per tensor.
    pub saturated: Vec<u64>,
}

/// A sum of contributions of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// Of the statistics phase.
    Statistics(FeatureStatistics),
    /// Of the train phase.
    Update(UpdateSum),
    /// Of the evaluate phase.
    Evaluation(EvaluationCounters),
}

/// A device that was asked and is not in the sum, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Absence {
    /// The device.
    pub device: DeviceId,
    /// Why it is not there.
    pub reason: Reason,
}

/// A region's report on one phase of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSum {
    /// The phase.
    pub key: RoundKey,
    /// The region.
    pub region: RegionId,
    /// The epoch of the plan that it answers.
    pub epoch: Epoch,
    /// The exact sum, also where nobody is in it.
    pub sum: Sum,
    /// Who is in it, sorted, each once.
    pub contributors: Vec<DeviceId>,
    /// Who was asked and is not, sorted.
    pub absent: Vec<Absence>,
    /// Bytes of contributions that the devices sent up, resends included.
    pub edge_up_bytes: u64,
    /// Bytes of plans and objects that the fog sent down to its devices.
    pub down_bytes: u64,
}
