//! What a round's log entries say, kept for its trace, its line and the console.

use std::collections::BTreeMap;

use fl_model::{
    Digest, Epoch, JobId, ObjectRef, PhaseResult, RegionAbsence, RegionId, RegionSummary, RoundKey,
    RoundNumber, RoundOutcome, TraceContext,
};

/// An accepted region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionRecord {
    /// SHA-256 of its signed partial.
    pub digest: Digest,
    /// What it said beside its sum.
    pub summary: RegionSummary,
    /// When it was accepted.
    pub accepted_us: u64,
}

impl RegionRecord {
    /// Its signed partial as an object.
    pub fn signed(&self) -> ObjectRef {
        ObjectRef {
            digest: self.digest,
            bytes: self.summary.fog_up_bytes,
        }
    }
}

/// One phase of a round.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseRecord {
    /// Which.
    pub key: RoundKey,
    /// When its plan was logged.
    pub opened_us: u64,
    /// Contributions it needed.
    pub quorum: u32,
    /// Regions that were asked.
    pub regions: Vec<RegionId>,
    /// Regions that are in it.
    pub accepted: BTreeMap<RegionId, RegionRecord>,
    /// Regions that are not.
    pub absent: Vec<RegionAbsence>,
    /// How and when it closed.
    pub closed: Option<(RoundOutcome, u64)>,
    /// What it gave, and when that was logged.
    pub settled: Option<(PhaseResult, u64)>,
}

impl PhaseRecord {
    /// Devices in it.
    pub fn contributors(&self) -> u32 {
        let regions = self.accepted.values();
        regions.map(|region| region.summary.contributors).sum()
    }

    /// When the last thing in it happened.
    pub fn ended_us(&self) -> u64 {
        let closed = self.closed.map_or(self.opened_us, |(_, at)| at);
        self.settled.as_ref().map_or(closed, |(_, at)| *at)
    }
}

/// A root that took the job over in the middle of the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// The last entry of the root before.
    pub from_us: u64,
    /// When the next one took over.
    pub to_us: u64,
    /// In which epoch.
    pub epoch: Epoch,
}

/// A round with its phases.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundRecord {
    /// Of which job.
    pub job: JobId,
    /// Which.
    pub round: RoundNumber,
    /// Its span.
    pub trace: TraceContext,
    /// Statistics alone, or train and then evaluate.
    pub phases: Vec<PhaseRecord>,
    /// Roots that took over during it.
    pub failovers: Vec<Failover>,
}

impl RoundRecord {
    pub(super) fn new(job: JobId, round: RoundNumber, trace: TraceContext) -> Self {
        Self {
            job,
            round,
            trace,
            phases: Vec::new(),
            failovers: Vec::new(),
        }
    }
}
