//! A job: what is trained, on which columns, for how many rounds.

use crate::data::DataSpec;
use crate::grid::GridWidth;
use crate::ids::JobId;
use crate::options::ModelOptions;
use crate::plan::{Overflow, check_overflow};
use crate::training::{Schedule, TrainingSpec};

/// How a device's weight follows from its number of training examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighting {
    /// The number of examples; more than the plan's maximum is rejected.
    Examples,
    /// The number of examples, cut to the plan's maximum.
    Capped,
    /// 1 for every device.
    Uniform,
}

impl Weighting {
    /// The weight of a device with that many examples.
    pub fn weight(self, examples: u64, weight_max: u64) -> u64 {
        match self {
            Weighting::Examples => examples,
            Weighting::Capped => examples.min(weight_max),
            Weighting::Uniform => 1,
        }
    }
}

/// How the root moves the global model along the mean update.
/// Reddi et al., "Adaptive Federated Optimization" (2021), algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerOptimizer {
    /// `w ← w + learning_rate·Δ`; with learning rate 1, McMahan et al.'s federated averaging.
    FedAvg {
        /// 1 takes the mean as it is.
        learning_rate: f32,
    },
    /// FedAvg with server momentum: `v ← momentum·v + Δ`, `w ← w + learning_rate·v`.
    FedAvgM {
        /// Step size.
        learning_rate: f32,
        /// Decay of the velocity.
        momentum: f32,
    },
    /// Adaptive step on the mean update with a second moment per coordinate.
    Adaptive {
        /// Which second moment.
        rule: AdaptiveRule,
        /// Step size η.
        learning_rate: f32,
        /// Decay of the first moment β1.
        beta1: f32,
        /// Decay of the second moment β2; FedAdagrad has none.
        beta2: f32,
        /// Degree of adaptivity τ, added to the root.
        tau: f32,
    },
}

/// How the second moment v of an adaptive server optimiser moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdaptiveRule {
    /// `v ← v + Δ²`.
    Adagrad,
    /// `v ← β2·v + (1 − β2)·Δ²`.
    Adam,
    /// `v ← v − (1 − β2)·Δ²·sign(v − Δ²)`.
    Yogi,
}

/// A job as its operator wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// Name of the job.
    pub job: JobId,
    /// Name of the imported model.
    pub model: String,
    /// Training rounds that must be merged.
    pub rounds: u32,
    /// Contributions that a round needs.
    pub quorum: u32,
    /// How long a fog waits for its devices.
    pub deadline_ms: u32,
    /// Orders local examples and draws initial weights.
    pub seed: u64,
    /// Whether training starts from weights drawn by the seed instead of those in the model.
    pub randomize: bool,
    /// How the model is taken.
    pub options: ModelOptions,
    /// Local training, at the full learning rate.
    pub training: TrainingSpec,
    /// How the learning rate goes over the rounds.
    pub schedule: Schedule,
    /// Examples.
    pub data: DataSpec,
    /// Bits of an encoded coordinate.
    pub grid: GridWidth,
    /// Euclidean norm that updates are cut to.
    pub clip_norm: f32,
    /// Weights.
    pub weighting: Weighting,
    /// Largest weight of a contribution.
    pub weight_max: u64,
    /// Most contributions of a round in the whole federation.
    pub contributions_max: u32,
    /// How the global model moves.
    pub server: ServerOptimizer,
}

impl JobSpec {
    /// Refuses a job whose exact sums could overflow, with the numbers.
    pub fn check_overflow(&self) -> Result<(), Overflow> {
        check_overflow(self.contributions_max, self.weight_max, self.grid.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_could_overflow_are_refused_with_the_numbers() {
        let check = |contributions, weight, bits, fits: bool| {
            let checked = check_overflow(contributions, weight, bits);
            assert_eq!(checked.is_ok(), fits, "{contributions} {weight} {bits}");
        };
        check(1, (1 << 32) - 1, 32, true);
        check(1, 1 << 32, 32, false);
        check(1 << 16, 1 << 16, 32, false);
        check(1 << 16, 1 << 16, 16, true);
        check(u32::MAX, u64::MAX, 32, false);
        let message = check_overflow(1 << 16, 1 << 16, 32)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("65536 contributions × weight 65536"),
            "{message}"
        );
    }
}
