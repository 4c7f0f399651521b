//! What one device adds to one phase of one round.

use std::fmt;

use crate::ids::{DeviceId, RoundKey};
use crate::statistics::{EvaluationCounters, FeatureStatistics};

/// A contribution is counted once under this key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContributionKey {
    /// The phase of the round it belongs to.
    pub round: RoundKey,
    /// The device that made it.
    pub device: DeviceId,
}

impl fmt::Display for ContributionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.round, self.device)
    }
}

/// An update on the plan's grid, and what did not fit on it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodedUpdate {
    /// Integers per tensor.
    pub q: Vec<Vec<i32>>,
    /// Per tensor, the smallest m with 2^m ≥ the largest magnitude; [`crate::Grid::ALL_ZERO`] where all are zero.
    pub magnitudes: Vec<i16>,
    /// Coordinates per tensor that the width cut off.
    pub saturated: Vec<u64>,
    /// What rounding and saturation took away, per tensor: the device's residual.
    pub residual: Vec<Vec<f32>>,
}

/// An update as it may leave the device: after clipping, the grid, and what the plan's privacy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtectedUpdate {
    /// The integers in the clear, with the weight they count with.
    Plain {
        /// Weight w ≥ 1.
        weight: u64,
        /// Integers per tensor.
        q: Vec<Vec<i32>>,
    },
}

impl ProtectedUpdate {
    /// The weight it counts with.
    pub fn weight(&self) -> u64 {
        let ProtectedUpdate::Plain { weight, .. } = self;
        *weight
    }
}

/// Figures that go with an update, all of them integers so that they add exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrainMetrics {
    /// Training examples.
    pub examples: u64,
    /// Sum over the examples of the last epoch's loss, in [`crate::FixedPoint`] units.
    pub loss: i128,
    /// As in [`EncodedUpdate::magnitudes`].
    pub magnitudes: Vec<i16>,
    /// As in [`EncodedUpdate::saturated`].
    pub saturated: Vec<u64>,
}

/// What a contribution carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Of the statistics phase.
    Statistics(FeatureStatistics),
    /// Of the train phase.
    Update {
        /// The update.
        update: ProtectedUpdate,
        /// Its figures.
        metrics: TrainMetrics,
    },
    /// Of the evaluate phase.
    Evaluation(EvaluationCounters),
}

/// One device's part of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Under which it is counted once.
    pub key: ContributionKey,
    /// What it carries.
    pub payload: Payload,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a contribution was not counted: a value, a metric label and an answer, never an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The reason as it stands in metrics, spans and logs.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// The reason's number on the wire; numbers are never given twice.
            pub fn code(self) -> u8 {
                match self { $(Reason::$name => $code,)* }
            }
        }
    };
}

reasons! {
    /// The round is over or was never open here.
    Stale = 1, "stale";
    /// The key was counted already, with other bytes.
    Duplicate = 2, "duplicate";
    /// The round did not ask this device.
    NotSelected = 3, "not_selected";
    /// The weight exceeds the plan's maximum.
    OverWeight = 4, "over_weight";
    /// The chunks do not make up the digest that the manifest names.
    BadDigest = 5, "bad_digest";
    /// A figure is not finite or out of its range.
    NotFinite = 6, "not_finite";
    /// The region has taken as many contributions, or bytes, as the plan allows.
    Quota = 7, "quota";
    /// It came after the round had closed.
    Late = 8, "late";
    /// The bytes are not a message that this version reads.
    Malformed = 9, "malformed";
    /// The sender is not in the roster, or was removed.
    UnknownSender = 10, "unknown_sender";
    /// The signature is not the sender's.
    BadSignature = 11, "bad_signature";
    /// The message names another job, region, round or sender than it came under.
    Foreign = 12, "foreign";
    /// Tensors or columns have other shapes than the plan's.
    WrongShape = 13, "wrong_shape";
    /// The message is larger than allowed.
    Oversized = 14, "oversized";
    /// The round closed without its quorum.
    NoQuorum = 15, "no_quorum";
    /// The region's partial sum did not arrive in time.
    RegionLate = 16, "region_late";
    /// The job was stopped.
    JobEnded = 17, "job_ended";
    /// The device's connection was lost.
    Disconnected = 18, "disconnected";
    /// The device did not answer before the deadline.
    Deadline = 19, "deadline";
    /// Local training went to infinity or NaN.
    Diverged = 20, "diverged";
    /// The device's data cannot be used for this job.
    DataUnusable = 21, "data_unusable";
    /// The device cannot run the job's model.
    ModelUnusable = 22, "model_unusable";
    /// The region's fog does not answer.
    FogSilent = 23, "fog_silent";
}

impl Reason {
    /// The reason with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fog's answer to a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is in the durable sum: stop sending, keep the bytes.
    Admitted,
    /// It is not and will not be counted.
    Rejected(Reason),
}

/// What became of an admitted contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the global model: delete it and commit its residual.
    Counted,
    /// It is not: delete it and keep the whole update as residual.
    Excluded(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_numbers_of_their_own() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_code(a.code()), Some(*a));
            for b in &Reason::ALL[..i] {
                assert_ne!(a.code(), b.code());
                assert_ne!(a.as_str(), b.as_str());
            }
        }
        assert_eq!(Reason::from_code(0), None);
    }
}
