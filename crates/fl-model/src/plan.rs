//! What the root asks of every device in one phase of a round.

use crate::data::{DataSpec, Normalization};
use crate::grid::Grid;
use crate::ids::{Epoch, ObjectRef, Phase, RoundKey, TraceContext};
use crate::job::Weighting;
use crate::options::ModelOptions;
use crate::training::{Loss, TrainingSpec};

/// How updates are protected before they leave the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Signed, not masked and without noise: said outright, not left out.
    Off,
}

/// The train phase's work.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainWork {
    /// Hyper-parameters.
    pub training: TrainingSpec,
    /// Scale of the inputs.
    pub normalization: Normalization,
    /// Where updates are rounded to.
    pub grid: Grid,
    /// Updates are scaled down to this Euclidean norm.
    pub clip_norm: f32,
    /// How the weight follows from the examples.
    pub weighting: Weighting,
    /// Largest weight; a contribution above it is rejected.
    pub weight_max: u64,
    /// Protection.
    pub privacy: Privacy,
    /// Orders the local examples, together with job, round and device.
    pub seed: u64,
}

/// The evaluate phase's work.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateWork {
    /// What is measured.
    pub loss: Loss,
    /// Scale of the inputs.
    pub normalization: Normalization,
}

/// What a phase asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Statistics of the features.
    Statistics,
    /// Local training.
    Train(Box<TrainWork>),
    /// Evaluation on the test rows.
    Evaluate(EvaluateWork),
}

/// One phase of a round as the root announces it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundPlan {
    /// Job, round and phase; the phase agrees with `work`.
    pub key: RoundKey,
    /// The root's epoch.
    pub epoch: Epoch,
    /// The user's ONNX model.
    pub model: ObjectRef,
    /// How the model is taken.
    pub options: ModelOptions,
    /// Draws the first values of device-local parameters; where there is none, they begin as in the model.
    pub draw: Option<u64>,
    /// The global parameters of this round.
    pub parameters: ObjectRef,
    /// The examples.
    pub data: DataSpec,
    /// What is asked.
    pub work: Work,
    /// Contributions needed in the whole federation.
    pub quorum: u32,
    /// Most contributions in the whole federation.
    pub contributions_max: u32,
    /// How long a fog waits for its devices, from when it receives the plan.
    pub deadline_ms: u32,
    /// The round's span.
    pub trace: TraceContext,
    /// Most contributions in each region, so that all regions together keep within `contributions_max`.
    pub region_contributions_max: u32,
}

/// Sums of the plan could leave the range of 64 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{contributions_max} contributions × weight {weight_max} × 2^{bits} does not fit below 2^63: \
     lower contributions_max or weight_max, or take a narrower grid"
)]
pub struct Overflow {
    contributions_max: u32,
    weight_max: u64,
    bits: u32,
}

impl RoundPlan {
    /// The phase of the work.
    pub fn phase(&self) -> Phase {
        match self.work {
            Work::Statistics => Phase::Statistics,
            Work::Train(_) => Phase::Train,
            Work::Evaluate(_) => Phase::Evaluate,
        }
    }

    /// Refuses a plan whose exact sums could overflow: contributions · weight · 2^(bits−1) ≥ 2^63.
    pub fn check_overflow(&self) -> Result<(), Overflow> {
        match &self.work {
            Work::Train(work) => {
                let bits = work.grid.width.bits();
                check_overflow(self.contributions_max, work.weight_max, bits)
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_overflow(
    contributions_max: u32,
    weight_max: u64,
    width_bits: u32,
) -> Result<(), Overflow> {
    let bits = width_bits - 1;
    let largest = (u128::from(contributions_max) * u128::from(weight_max)) << bits;
    if largest < 1 << 63 {
        return Ok(());
    }
    Err(Overflow {
        contributions_max,
        weight_max,
        bits,
    })
}
