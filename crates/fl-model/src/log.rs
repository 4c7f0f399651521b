//! The job's log: every transition, in order. The root's state is the fold of it.

use crate::contribution::Reason;
use crate::data::Normalization;
use crate::grid::Grid;
use crate::ids::{Digest, Epoch, ObjectRef, RegionId, RoundKey};
use crate::job::JobSpec;
use crate::plan::RoundPlan;
use crate::statistics::EvaluationCounters;
use crate::sum::Absence;

/// How a phase of a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundOutcome {
    /// Its sum is taken.
    Merged,
    /// Too few contributed: nothing is taken.
    NoQuorum,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// All rounds are done.
    Finished,
    /// An operator stopped it.
    Stopped,
    /// It cannot go on.
    Failed(JobFailure),
}

/// Why a job cannot go on, however often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JobFailure {
    /// A merge took the global model out of the range of 32-bit floats.
    #[error(
        "the global model went to infinity: submit a job with a lower learning rate of the devices or the server"
    )]
    Diverged,
    /// A sum does not go with the global model.
    #[error("a sum cannot be merged into the global model: see the root's log")]
    Unmergeable,
}

/// A region whose partial sum is not in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionAbsence {
    /// The region.
    pub region: RegionId,
    /// Why its partial is not there.
    pub reason: Reason,
}

/// What a region's partial said beside its sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegionSummary {
    /// Devices in it.
    pub contributors: u32,
    /// Devices that were asked and are not in it.
    pub absent: Vec<Absence>,
    /// Bytes that the devices sent up.
    pub edge_up_bytes: u64,
    /// Bytes of the signed partial.
    pub fog_up_bytes: u64,
    /// Bytes that the fog sent down.
    pub down_bytes: u64,
    /// Devices that were asked, are not in it, and are not named in `absent` either.
    pub absent_more: u32,
}

impl RegionSummary {
    /// Most devices that `absent` names, so that an entry of the log keeps within its bound.
    pub const ABSENT_MAX: usize = 1_000;

    /// Devices that were asked and are not in it.
    pub fn absent_count(&self) -> u32 {
        self.absent.len() as u32 + self.absent_more
    }
}

/// What a merged phase gave.
#[derive(Debug, Clone, PartialEq)]
pub enum PhaseResult {
    /// Scale of the inputs.
    Statistics {
        /// Training rows in the federation.
        rows: u64,
        /// The scale.
        normalization: Normalization,
    },
    /// The next global model.
    Train {
        /// Its parameters.
        parameters: ObjectRef,
        /// The server optimiser's moments, where it has any.
        moments: Option<ObjectRef>,
        /// The next round's grid.
        grid: Grid,
        /// Training examples.
        examples: u64,
        /// Mean loss of the last local epoch, weighted by examples.
        loss: f64,
    },
    /// How the global model does.
    Evaluate(EvaluationCounters),
}

/// One transition. Times are the root's wall clock in µs since 1970, for traces only.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEntry {
    /// The job was accepted.
    Submitted {
        /// What to do.
        spec: Box<JobSpec>,
        /// The user's model.
        model: ObjectRef,
        /// The parameters that training starts from.
        parameters: ObjectRef,
        /// Coordinates per tensor.
        tensors: Vec<u64>,
        /// When.
        at_us: u64,
    },
    /// A root took the job.
    Led {
        /// Its epoch, one above the last.
        epoch: Epoch,
        /// When.
        at_us: u64,
    },
    /// A phase of a round began; its plan may go out now.
    Opened {
        /// The plan.
        plan: Box<RoundPlan>,
        /// The regions that are asked.
        regions: Vec<RegionId>,
        /// When.
        at_us: u64,
    },
    /// A region's partial is part of the phase; its fog may forget it.
    PartialAccepted {
        /// The phase.
        key: RoundKey,
        /// The region.
        region: RegionId,
        /// SHA-256 of the signed partial.
        digest: Digest,
        /// What it said beside its sum.
        summary: RegionSummary,
        /// When.
        at_us: u64,
    },
    /// The phase takes no more partials.
    Closed {
        /// The phase.
        key: RoundKey,
        /// Whether its sum is taken.
        outcome: RoundOutcome,
        /// Regions that are not in it.
        absent: Vec<RegionAbsence>,
        /// When.
        at_us: u64,
    },
    /// The phase's sum was merged and its result is stored.
    Settled {
        /// The phase.
        key: RoundKey,
        /// What it gave.
        result: Box<PhaseResult>,
        /// When.
        at_us: u64,
    },
    /// Nothing follows.
    Ended {
        /// How.
        how: JobEnd,
        /// When.
        at_us: u64,
    },
}
