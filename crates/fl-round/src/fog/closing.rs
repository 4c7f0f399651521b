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
        let saving = !open.unpersisted.is_empty() || !open.persisting.is_empty();
        if saving || (awaited && now < deadline) {
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
        if self.record(&key).is_some() {
            return Vec::new();
        }
        let (admitted, closed) = match self.open.take_if(|open| open.plan.key == key) {
            Some(Open {
                admitted, stage, ..
            }) => match stage {
                Stage::Closed { digest } => (admitted, Some(digest)),
                _ => (admitted, None),
            },
            None => match self.restored.take_if(|r| r.partial.key == key) {
                Some(restored) => (restored.admitted, restored.closed),
                None => return Vec::new(),
            },
        };
        let outcome = match (outcome, accepted) {
            (RoundOutcome::NoQuorum, _) => Outcome::Excluded(Reason::NoQuorum),
            (RoundOutcome::Merged, Some(digest)) if Some(digest) == closed => Outcome::Counted,
            (RoundOutcome::Merged, _) => Outcome::Excluded(absent.unwrap_or(Reason::RegionLate)),
        };
        vec![self.settle(key, admitted, outcome)]
    }

    /// A phase that was not settled when its job ended is in no model: its devices may forget it.
    pub(super) fn on_job_ended(&mut self, job: &JobId) -> Vec<FogEffect> {
        let open = self.open.take_if(|open| open.plan.key.job == *job);
        let restored = self.restored.take_if(|r| r.partial.key.job == *job);
        let open = open.map(|open| (open.plan.key.clone(), open.admitted));
        let unsettled = open.or_else(|| restored.map(|r| (r.partial.key, r.admitted)));
        let outcome = Outcome::Excluded(Reason::JobEnded);
        let settled = unsettled.map(|(key, admitted)| self.settle(key, admitted, outcome));
        settled.into_iter().collect()
    }

    fn settle(
        &mut self,
        key: RoundKey,
        admitted: BTreeMap<DeviceId, Digest>,
        outcome: Outcome,
    ) -> FogEffect {
        let outcomes = admitted.into_keys().map(|device| (device, outcome));
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

    /// What the fog knows about a contribution that a device still holds.
    pub(super) fn answer(&self, device: &DeviceId, key: &RoundKey) -> Answer {
        if let Some(outcome) = self.settled_answer(device, key) {
            return Answer::Settled(outcome);
        }
        let admitted = match (&self.open, &self.restored) {
            (Some(open), _) if open.plan.key == *key => match open.stage {
                Stage::Fetching if !self.restored_holds(device, key) => return Answer::SendAgain,
                Stage::Fetching => true,
                Stage::Collecting { .. } => match open.out.get(device) {
                    Some(&reason) if !may_return(reason) => return Answer::Rejected(reason),
                    _ if open.admitted.contains_key(device) => true,
                    _ => return Answer::SendAgain,
                },
                Stage::Closing | Stage::Closed { .. } => open.admitted.contains_key(device),
            },
            (_, Some(restored)) if restored.partial.key == *key => {
                if !self.restored_holds(device, key) && restored.closed.is_none() {
                    return Answer::SendAgain;
                }
                self.restored_holds(device, key)
            }
            // No plan yet since the start: the round may still be the open one.
            (None, _) => return Answer::SendAgain,
            _ => return Answer::Unknown,
        };
        if admitted {
            Answer::Admitted
        } else {
            Answer::Rejected(Reason::Late)
        }
    }
}
