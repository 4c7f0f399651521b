//! The state as the fold of the log.

use std::collections::{BTreeMap, BTreeSet};

use fl_aggregate::ExactSum;
use fl_model::{
    Epoch, Grid, LogEntry, Phase, PhaseResult, Reason, RegionAbsence, RoundKey, RoundNumber,
    RoundOutcome, RoundPlan, TraceContext,
};

use super::record::{Failover, PhaseRecord, RegionRecord, RoundRecord};
use super::{Current, Lull, RootLimits, RootRound};

/// A log that no root wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It does not begin with a submission.
    #[error("the job's log does not begin with its submission: the stream was cut or is another's")]
    NoSubmission,
}

impl RootRound {
    /// A job as its log tells it, from the first entry on.
    pub fn replay(limits: RootLimits, log: &[LogEntry]) -> Result<Self, ReplayError> {
        let Some((first, rest)) = log.split_first() else {
            return Err(ReplayError::NoSubmission);
        };
        let LogEntry::Submitted {
            spec,
            model,
            parameters,
            tensors,
            at_us,
        } = first
        else {
            return Err(ReplayError::NoSubmission);
        };
        let key = RoundKey {
            job: spec.job.clone(),
            round: RoundNumber(0),
            phase: Phase::Statistics,
        };
        let none = TraceContext::default();
        let mut root = Self {
            limits,
            job: spec.job.clone(),
            model: *model,
            tensors: tensors.iter().map(|&n| n as usize).collect(),
            parameters: *parameters,
            moments: None,
            previous: Vec::new(),
            retired: Vec::new(),
            grid: Grid::for_clip_norm(spec.grid, spec.clip_norm, tensors.len()),
            normalization: None,
            epoch: Epoch(0),
            outranks: Epoch(0),
            record: RoundRecord::new(key.job.clone(), key.round, none),
            record_before: None,
            next: Some(key),
            merged_rounds: 0,
            failures: 0,
            current: None,
            ended: None,
            last_at_us: *at_us,
            spec: spec.clone(),
            now: 0,
            started: None,
            fogs: BTreeMap::new(),
            enough_since: None,
            not_before: 0,
            lull: Lull::default(),
            appending: false,
            waiting_said: None,
        };
        rest.iter().for_each(|entry| root.apply(entry));
        Ok(root)
    }

    /// Goes on with a replay by one entry; for who wants to see each state on the way.
    pub fn fold(&mut self, entry: &LogEntry) {
        self.apply(entry);
    }

    /// Moves the state by one entry that the log has taken.
    pub(super) fn apply(&mut self, entry: &LogEntry) {
        let at_us = match entry {
            LogEntry::Submitted { at_us, .. } => *at_us,
            LogEntry::Led { epoch, at_us } => {
                self.apply_led(*epoch, *at_us);
                *at_us
            }
            LogEntry::Opened {
                plan,
                regions,
                at_us,
            } => {
                self.apply_opened(plan, regions, *at_us);
                *at_us
            }
            LogEntry::PartialAccepted {
                region,
                digest,
                summary,
                at_us,
                ..
            } => {
                if let Some(current) = &mut self.current {
                    current.accepted.insert(region.clone(), *digest);
                    current.refused.remove(region);
                }
                if let Some(phase) = self.record.phases.last_mut() {
                    let accepted = RegionRecord {
                        digest: *digest,
                        summary: summary.clone(),
                        accepted_us: *at_us,
                    };
                    phase.accepted.insert(region.clone(), accepted);
                }
                *at_us
            }
            LogEntry::Closed {
                key,
                outcome,
                absent,
                at_us,
            } => {
                if let Some(phase) = self.record.phases.last_mut() {
                    phase.closed = Some((*outcome, *at_us));
                    phase.absent.clone_from(absent);
                }
                self.apply_closed(key, *outcome);
                *at_us
            }
            LogEntry::Settled { key, result, at_us } => {
                if let Some(phase) = self.record.phases.last_mut() {
                    phase.settled = Some(((**result).clone(), *at_us));
                }
                self.apply_settled(key, result);
                *at_us
            }
            LogEntry::Ended { how, at_us } => {
                self.ended = Some(*how);
                self.apply_stopped(*at_us);
                self.retire_partials();
                // What is left is what an export takes.
                self.retired.append(&mut self.previous);
                self.retired.extend(self.moments.take());
                *at_us
            }
        };
        self.last_at_us = at_us;
    }

    fn apply_led(&mut self, epoch: Epoch, at_us: u64) {
        self.epoch = epoch;
        let next = self.next.as_ref().map(|next| next.round);
        let between_phases = !self.record.phases.is_empty() && next == Some(self.record.round);
        if self.current.is_some() || between_phases {
            self.record.failovers.push(Failover {
                from_us: self.last_at_us,
                to_us: at_us,
                epoch,
            });
        }
    }

    fn apply_opened(&mut self, plan: &RoundPlan, regions: &[fl_model::RegionId], at_us: u64) {
        let key = &plan.key;
        if self.record.round != key.round || self.record.phases.is_empty() {
            let record = RoundRecord::new(key.job.clone(), key.round, plan.trace);
            let before = std::mem::replace(&mut self.record, record);
            self.record_before = (!before.phases.is_empty()).then_some(before);
        }
        self.record.phases.push(PhaseRecord {
            key: key.clone(),
            opened_us: at_us,
            quorum: plan.quorum,
            regions: regions.to_vec(),
            accepted: BTreeMap::new(),
            absent: Vec::new(),
            closed: None,
            settled: None,
        });
        self.current = Some(Current {
            sum: ExactSum::empty(plan, &self.tensors),
            plan: Box::new(plan.clone()),
            regions: regions.to_vec(),
            accepted: BTreeMap::new(),
            refused: BTreeMap::new(),
            closed: None,
            merged: BTreeSet::new(),
            contributors: BTreeSet::new(),
            deadline: None,
        });
    }

    /// A phase that the job's end cuts off is over, and nothing of it is taken.
    fn apply_stopped(&mut self, at_us: u64) {
        let cut_off = self.current.take().is_some();
        if let Some(phase) = self.record.phases.last_mut().filter(|_| cut_off) {
            phase.closed = Some((RoundOutcome::NoQuorum, at_us));
            let regions = phase.regions.iter().cloned();
            let absent = regions.map(|region| RegionAbsence {
                region,
                reason: Reason::JobEnded,
            });
            phase.absent = absent.collect();
        }
    }

    fn apply_closed(&mut self, key: &RoundKey, outcome: RoundOutcome) {
        match outcome {
            RoundOutcome::Merged => {
                if let Some(current) = &mut self.current {
                    current.closed = Some(outcome);
                }
            }
            RoundOutcome::NoQuorum => {
                self.retire_partials();
                self.current = None;
                self.failures += 1;
                let phase = match key.phase {
                    Phase::Evaluate if self.merged_rounds < self.spec.rounds => Phase::Train,
                    phase => phase,
                };
                self.next = Some(self.key(key.round.next(), phase));
            }
        }
    }

    /// The last phase is over: its partials are not read again.
    fn retire_partials(&mut self) {
        let phase = self.record.phases.last();
        let accepted = phase.into_iter().flat_map(|phase| phase.accepted.values());
        self.retired.extend(accepted.map(RegionRecord::signed));
    }

    fn apply_settled(&mut self, key: &RoundKey, result: &PhaseResult) {
        self.retire_partials();
        self.current = None;
        self.failures = 0;
        self.next = match result {
            PhaseResult::Statistics { normalization, .. } => {
                self.normalization = Some(normalization.clone());
                Some(self.key(key.round.next(), Phase::Train))
            }
            PhaseResult::Train {
                parameters,
                moments,
                grid,
                ..
            } => {
                self.retired.append(&mut self.previous);
                self.previous.push(self.parameters);
                self.previous.extend(self.moments);
                self.parameters = *parameters;
                self.moments = *moments;
                self.grid = grid.clone();
                self.merged_rounds += 1;
                Some(self.key(key.round, Phase::Evaluate))
            }
            PhaseResult::Evaluate(_) => {
                let more = self.merged_rounds < self.spec.rounds;
                more.then(|| self.key(key.round.next(), Phase::Train))
            }
        };
    }

    fn key(&self, round: RoundNumber, phase: Phase) -> RoundKey {
        RoundKey {
            job: self.job.clone(),
            round,
            phase,
        }
    }
}
