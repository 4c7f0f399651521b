//! Which partials a phase takes, and when it closes.

use fl_model::{
    Digest, JobEnd, JobFailure, LogEntry, PartialSum, PhaseResult, Reason, RegionAbsence, RegionId,
    RegionSummary, RoundKey, RoundOutcome, Sum,
};

use super::{Current, MergeInput, RootEffect, RootRound};
use crate::time::Millis;

/// Why a partial is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartialRefusal {
    /// The phase is over, or another one is open.
    #[error("its round is not open")]
    NotOpen,
    /// The round did not ask that region.
    #[error("the round did not ask its region")]
    Region,
    /// It answers a plan of another epoch.
    #[error("it answers a plan of another epoch")]
    Epoch,
    /// The region's partial was accepted already, with other bytes.
    #[error("another partial of its region was accepted before")]
    Other,
    /// A device is in it twice, or in another region's partial too.
    #[error("a device in it was counted before")]
    Overlap,
    /// More contributions than the plan allows a region.
    #[error("it brings more contributions than the plan allows a region")]
    Quota,
    /// Its sum is of another shape, or leaves the range.
    #[error("its sum does not fit the plan's model")]
    Shape,
}

impl PartialRefusal {
    /// Why its region is not in the phase; none where the region may still answer, or has.
    fn is_final(self) -> Option<Reason> {
        match self {
            PartialRefusal::NotOpen | PartialRefusal::Region | PartialRefusal::Other => None,
            PartialRefusal::Epoch => Some(Reason::Stale),
            PartialRefusal::Overlap => Some(Reason::Duplicate),
            PartialRefusal::Quota => Some(Reason::Quota),
            PartialRefusal::Shape => Some(Reason::WrongShape),
        }
    }
}

impl Current {
    /// Whether nothing more is to come of a region: its partial is in, or was refused for good.
    pub(super) fn has_answered(&self, region: &RegionId) -> bool {
        self.accepted.contains_key(region) || self.refused.contains_key(region)
    }
}

impl RootRound {
    pub(super) fn on_partial(
        &mut self,
        partial: &PartialSum,
        digest: Digest,
        bytes: u64,
        at_us: u64,
    ) -> Vec<RootEffect> {
        let region = partial.region.clone();
        match self.check_partial(partial, digest) {
            Err(refusal) => {
                if let Some(reason) = refusal.is_final() {
                    self.leave_out(&partial.key, &region, reason);
                }
                vec![RootEffect::RefusePartial(region, digest, refusal)]
            }
            Ok(Taken::Before) => Vec::new(),
            Ok(Taken::Restored) => self.merge_if_ready(),
            Ok(Taken::New) => self.append(LogEntry::PartialAccepted {
                key: partial.key.clone(),
                region,
                digest,
                summary: summary(partial, bytes),
                at_us,
            }),
        }
    }

    /// A region of the open phase has answered with what cannot be taken.
    pub(super) fn leave_out(&mut self, key: &RoundKey, region: &RegionId, reason: Reason) {
        let open = |current: &&mut Current| current.plan.key == *key && current.closed.is_none();
        let Some(current) = self.current.as_mut().filter(open) else {
            return;
        };
        if current.regions.contains(region) && !current.accepted.contains_key(region) {
            current.refused.insert(region.clone(), reason);
        }
    }

    /// Adds a partial to the phase's sum. Where the log then does not take it, this root is no longer
    /// the leader and its state goes with it.
    fn check_partial(
        &mut self,
        partial: &PartialSum,
        digest: Digest,
    ) -> Result<Taken, PartialRefusal> {
        let open = |current: &&mut Current| current.plan.key == partial.key;
        let current = self
            .current
            .as_mut()
            .filter(open)
            .ok_or(PartialRefusal::NotOpen)?;
        let region = &partial.region;
        let accepted = current.accepted.get(region).copied();
        if !current.regions.contains(region) {
            return Err(PartialRefusal::Region);
        }
        if partial.epoch != current.plan.epoch {
            return Err(PartialRefusal::Epoch);
        }
        match accepted {
            Some(before) if before != digest => return Err(PartialRefusal::Other),
            Some(_) if current.merged.contains(region) => return Ok(Taken::Before),
            None if current.closed.is_some() => return Err(PartialRefusal::NotOpen),
            _ => {}
        }
        let before = |device| current.contributors.contains(device);
        let sorted = partial.contributors.is_sorted_by(|a, b| a < b);
        if !sorted || partial.contributors.iter().any(before) {
            return Err(PartialRefusal::Overlap);
        }
        if !has_its_contributors(partial) {
            return Err(PartialRefusal::Shape);
        }
        // Each fog knows its own bound only. Where regions have grown since the phase opened, all together
        // may pass the plan's by a few: sums are added with care.
        if partial.contributors.len() > current.plan.region_contributions_max as usize {
            return Err(PartialRefusal::Quota);
        }
        current
            .sum
            .merge(&partial.sum)
            .map_err(|_| PartialRefusal::Shape)?;
        current
            .contributors
            .extend(partial.contributors.iter().cloned());
        current.merged.insert(region.clone());
        Ok(if accepted.is_some() {
            Taken::Restored
        } else {
            Taken::New
        })
    }

    /// Closes once every region that may still answer is in, or at the deadline.
    pub(super) fn close_if_due(&mut self, now: Millis, at_us: u64) -> Vec<RootEffect> {
        let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.closed.is_none())
        else {
            return Vec::new();
        };
        let missing = || {
            let regions = current.regions.iter();
            regions.filter(|region| !current.accepted.contains_key(*region))
        };
        let awaited =
            missing().any(|region| !current.has_answered(region) && self.is_alive(region));
        let over = current.deadline.is_some_and(|deadline| now >= deadline);
        let restoring = current.merged.len() < current.accepted.len();
        if (awaited && !over) || restoring || current.deadline.is_none() {
            return Vec::new();
        }
        let absent = missing().map(|region| RegionAbsence {
            region: region.clone(),
            reason: match current.refused.get(region) {
                Some(&reason) => reason,
                None if self.is_alive(region) => Reason::RegionLate,
                None => Reason::FogSilent,
            },
        });
        let enough = current.contributors.len() >= current.plan.quorum as usize;
        let outcome = if enough {
            RoundOutcome::Merged
        } else {
            RoundOutcome::NoQuorum
        };
        let entry = LogEntry::Closed {
            key: current.plan.key.clone(),
            outcome,
            absent: absent.collect(),
            at_us,
        };
        self.append(entry)
    }

    /// Asks for the merge once the phase is closed and every accepted partial is in the sum.
    pub(super) fn merge_if_ready(&mut self) -> Vec<RootEffect> {
        let Some(current) = &self.current else {
            return Vec::new();
        };
        let ready = current.closed == Some(RoundOutcome::Merged)
            && current.merged.len() == current.accepted.len();
        if !ready {
            return Vec::new();
        }
        vec![RootEffect::Merge(Box::new(MergeInput {
            plan: current.plan.clone(),
            sum: current.sum.sum().clone(),
            moments: self.moments,
        }))]
    }

    /// The phase's sum can be merged neither now nor later: the job ends, and its other phases with it.
    pub(super) fn on_merge_failed(
        &mut self,
        key: &RoundKey,
        failure: JobFailure,
        at_us: u64,
    ) -> Vec<RootEffect> {
        if !self.is_merging(key) {
            return Vec::new();
        }
        let how = JobEnd::Failed(failure);
        self.append(LogEntry::Ended { how, at_us })
    }

    fn is_merging(&self, key: &RoundKey) -> bool {
        let closed = |current: &Current| current.plan.key == *key && current.closed.is_some();
        self.current.as_ref().is_some_and(closed)
    }

    pub(super) fn on_merged(
        &mut self,
        key: RoundKey,
        result: Box<PhaseResult>,
        at_us: u64,
    ) -> Vec<RootEffect> {
        if !self.is_merging(&key) {
            return Vec::new();
        }
        self.append(LogEntry::Settled { key, result, at_us })
    }
}

/// What the log keeps of a partial; it names so many absent devices as an entry has room for.
fn summary(partial: &PartialSum, bytes: u64) -> RegionSummary {
    let named = partial.absent.len().min(RegionSummary::ABSENT_MAX);
    RegionSummary {
        contributors: partial.contributors.len() as u32,
        absent: partial.absent[..named].to_vec(),
        edge_up_bytes: partial.edge_up_bytes,
        fog_up_bytes: bytes,
        down_bytes: partial.down_bytes,
        absent_more: (partial.absent.len() - named) as u32,
    }
}

/// Whether the sum is of as many updates as the partial names contributors.
fn has_its_contributors(partial: &PartialSum) -> bool {
    match &partial.sum {
        Sum::Update(sum) => sum.updates == partial.contributors.len() as u64,
        Sum::Statistics(_) | Sum::Evaluation(_) => true,
    }
}

/// How a partial stands to the phase's sum.
enum Taken {
    New,
    Restored,
    Before,
}
