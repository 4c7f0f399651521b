//! When a phase closes, and what becomes of those who are in it.

use std::collections::BTreeMap;

use fl_model::{
    Absence, ContributionKey, DeviceId, Digest, JobId, Outcome, PartialSum, Reason, RoundKey,
    RoundOutcome,
};

use super::admission::may_return;
use super::{FogEffect, FogRound, Open, SettledRecord, Stage};
use crate::edge::Answer;
use crate::time::Millis;

impl FogRound {
    /// Closes once nobody is left to wait for, or at the deadline.
    pub(super) fn close_if_due(&mut self, now: Millis) -> Vec<FogEffect> {
        let Some(open) = self.open.as_mut() else {
            return Vec::new();
        };
        let Stage::Collecting { deadline } = open.stage else {
            return Vec::new();
        };
        let answered =
            |device: &DeviceId| open.admitted.contains_key(device) || open.out.contains_key(device);
        let awaited = self.presence.awaited().any(|device| !answered(device));
        let awaited = awaited || !self.presence.is_known();
        if open.is_saving() || (awaited && now < deadline) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for device in self.presence.devices() {
            if answered(device) {
                continue;
            }
            let lost = !self.presence.is_awaited(device);
            let reason = if lost {
                Reason::Disconnected
            } else {
                Reason::Deadline
            };
            let round = open.plan.key.clone();
            let device = device.clone();
            effects.push(FogEffect::DeviceDone(
                ContributionKey { round, device },
                Err(reason),
            ));
        }
        for effect in &effects {
            if let FogEffect::DeviceDone(key, Err(reason)) = effect {
                open.out.insert(key.device.clone(), *reason);
            }
        }
        open.stage = Stage::Closing;
        let partial = self.open.as_ref().and_then(|open| self.partial(open));
        effects.extend(partial.map(|partial| FogEffect::Close(Box::new(partial))));
        effects
    }

    pub(super) fn partial(&self, open: &Open) -> Option<PartialSum> {
        let absent = open.out.iter().map(|(device, &reason)| Absence {
            device: device.clone(),
            reason,
        });
        Some(PartialSum {
            key: open.plan.key.clone(),
            region: self.region.clone(),
            epoch: open.plan.epoch,
            sum: open.sum.as_ref()?.sum().clone(),
            contributors: open.admitted.keys().cloned().collect(),
            absent: absent.collect(),
            edge_up_bytes: open.edge_up_bytes,
            down_bytes: open.down_bytes,
        })
    }

    pub(super) fn on_partial_stored(&mut self, key: RoundKey, digest: Digest) -> Vec<FogEffect> {
        match self.open_at(&key) {
            Some(open) if open.stage == Stage::Closing => {
                open.stage = Stage::Closed { digest };
                vec![FogEffect::Publish(key)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn on_settled(
        &mut self,
        key: RoundKey,
        outcome: RoundOutcome,
        accepted: Option<Digest>,
        absent: Option<Reason>,
    ) -> Vec<FogEffect> {
        let Some((admitted, closed)) = self.take_out(&key) else {
            self.set_over(key);
            return Vec::new();
        };
        let outcome = match (outcome, accepted) {
            (RoundOutcome::NoQuorum, _) => {
                let stopped = absent.filter(|&reason| reason == Reason::JobEnded);
                Outcome::Excluded(stopped.unwrap_or(Reason::NoQuorum))
            }
            (RoundOutcome::Merged, Some(digest)) if Some(digest) == closed => Outcome::Counted,
            (RoundOutcome::Merged, _) => Outcome::Excluded(absent.unwrap_or(Reason::RegionLate)),
        };
        vec![self.settle(key, admitted, outcome)]
    }

    /// Nothing of the job is followed any more. What became of its last phase is still to be told: a
    /// root that starts again may tell of the end first.
    pub(super) fn on_job_ended(&mut self, job: JobId) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.plan.key.job == job)
        {
            self.set_aside();
        }
        self.heard.insert(job);
    }

    /// Who is in the sum of that phase, and the digest of its partial where it was closed.
    fn take_out(&mut self, key: &RoundKey) -> Option<InSum> {
        let restored = self
            .restored
            .take_if(|restored| restored.partial.key == *key);
        let restored = restored.map(|restored| (restored.admitted, restored.closed));
        // Until the objects are there, what was restored stands for what is open.
        match self.open.take_if(|open| open.plan.key == *key) {
            Some(open) if open.stage != Stage::Fetching => Some(match open.stage {
                Stage::Closed { digest } => (open.admitted, Some(digest)),
                _ => (open.admitted, None),
            }),
            Some(open) => Some(restored.unwrap_or((open.admitted, None))),
            None => restored,
        }
    }

    fn settle(
        &mut self,
        key: RoundKey,
        admitted: BTreeMap<DeviceId, Digest>,
        outcome: Outcome,
    ) -> FogEffect {
        let outcomes = admitted.into_keys().map(|device| (device, outcome));
        self.set_over(key.clone());
        let record = SettledRecord {
            key,
            outcomes: outcomes.collect(),
        };
        self.settled.push_back(record.clone());
        while self.settled.len() > self.limits.settled_max {
            self.settled.pop_front();
        }
        FogEffect::Settle(record)
    }

    pub(super) fn set_over(&mut self, key: RoundKey) {
        if !self.is_over(&key) {
            self.over.insert(key.job.clone(), key);
        }
    }

    /// Whether the phase, or a later one of its job, was settled.
    pub(super) fn is_over(&self, key: &RoundKey) -> bool {
        self.over.get(&key.job).is_some_and(|over| key <= over)
    }

    /// Whether the root's stream may still tell that the phase is open.
    pub(super) fn may_open(&self, key: &RoundKey) -> bool {
        !self.heard.contains(&key.job) && !self.is_over(key)
    }

    pub(super) fn record(&self, key: &RoundKey) -> Option<&SettledRecord> {
        self.settled.iter().find(|record| record.key == *key)
    }

    fn restored_holds(&self, device: &DeviceId, key: &RoundKey) -> bool {
        let of_key = self.restored.as_ref().filter(|r| r.partial.key == *key);
        of_key.is_some_and(|r| r.admitted.contains_key(device))
    }

    pub(super) fn settled_answer(&self, device: &DeviceId, key: &RoundKey) -> Option<Outcome> {
        let record = self.record(key)?;
        let late = Outcome::Excluded(Reason::Late);
        Some(record.outcomes.get(device).copied().unwrap_or(late))
    }

    /// What the fog knows about a contribution that a device still holds; nothing while its receipt
    /// waits for the disk.
    pub(super) fn answer(&self, device: &DeviceId, key: &RoundKey) -> Option<Answer> {
        if let Some(outcome) = self.settled_answer(device, key) {
            return Some(Answer::Settled(outcome));
        }
        if self.restored_holds(device, key) {
            return Some(Answer::Admitted);
        }
        let Some(open) = self.open.as_ref().filter(|open| open.plan.key == *key) else {
            let unknown = !self.may_open(key);
            return Some(if unknown {
                Answer::Unknown
            } else {
                Answer::SendAgain
            });
        };
        if open.admitted.contains_key(device) {
            return (!open.awaits_snapshot(device)).then_some(Answer::Admitted);
        }
        Some(match (open.stage, open.out.get(device)) {
            (Stage::Closing | Stage::Closed { .. }, _) => Answer::Rejected(Reason::Late),
            (_, Some(&reason)) if !may_return(reason) => Answer::Rejected(reason),
            _ => Answer::SendAgain,
        })
    }
}

/// Who is in a sum, and the digest of its partial.
type InSum = (BTreeMap<DeviceId, Digest>, Option<Digest>);
