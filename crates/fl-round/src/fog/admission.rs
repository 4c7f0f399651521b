//! Who is let into the sum, and what each device is told.

use fl_model::{Admission, Contribution, ContributionKey, Digest, Outcome, Reason, RoundKey};

use super::{Answer, FogEffect, FogRound, Open, Stage};
use crate::time::Millis;

impl FogRound {
    pub(super) fn on_contribution(
        &mut self,
        contribution: &Contribution,
        digest: Digest,
        bytes: u64,
        now: Millis,
    ) -> Vec<FogEffect> {
        let key = contribution.key.clone();
        self.presence.heard(&key.device, now);
        if let Some(open) = self.open_at(&key.round) {
            open.edge_up_bytes += bytes;
        }
        match self.turn_away(&key, digest) {
            Some(effects) => effects,
            None => self.admit(contribution, digest),
        }
    }

    /// What a device is told whose contribution is not let in now, whatever it says; none where it is.
    pub(super) fn turn_away(
        &mut self,
        key: &ContributionKey,
        digest: Digest,
    ) -> Option<Vec<FogEffect>> {
        let key = key.clone();
        match self.admission(&key, digest) {
            Door::Answered(admission) => Some(vec![FogEffect::Receipt(key, admission)]),
            Door::Settled(outcome) => Some(vec![settled(key, outcome)]),
            Door::Waits => Some(Vec::new()),
            Door::Refused(reason) => Some(self.refuse(key, reason)),
            Door::Open => None,
        }
    }

    /// Whether the bytes of a contribution are worth receiving: the open phase lacks them, and takes
    /// them now or, once it has its model, soon.
    pub fn awaits(&self, key: &ContributionKey, digest: Digest) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.plan.key == key.round)
            && self.digest_of(key).is_none()
            && matches!(self.admission(key, digest), Door::Open | Door::Waits)
    }

    /// Bytes that are no contribution, in place of one. A device that is in the sum stays in it.
    pub(super) fn on_refused(&mut self, key: ContributionKey, reason: Reason) -> Vec<FogEffect> {
        if let Some(outcome) = self.settled_answer(&key.device, &key.round) {
            return vec![settled(key, outcome)];
        }
        match self.digest_of(&key) {
            Some(_) if self.awaits_snapshot(&key) => Vec::new(),
            Some(_) => vec![FogEffect::Receipt(key, Admission::Admitted)],
            // Nothing would remember the answer, and another copy of the bytes could then be let in.
            None if self.open_at(&key.round).is_none() && self.may_open(&key.round) => Vec::new(),
            None if self.presence.is_known() => self.refuse(key, reason),
            None => Vec::new(),
        }
    }

    /// What the fog says to a contribution before it looks at its payload.
    fn admission(&self, key: &ContributionKey, digest: Digest) -> Door {
        if let Some(outcome) = self.settled_answer(&key.device, &key.round) {
            return Door::Settled(outcome);
        }
        match self.digest_of(key) {
            Some(before) if before != digest => {
                return Door::Answered(Admission::Rejected(Reason::Duplicate));
            }
            Some(_) if self.awaits_snapshot(key) => return Door::Waits,
            Some(_) => return Door::Answered(Admission::Admitted),
            None if !self.presence.is_known() => return Door::Waits,
            None if !self.presence.contains(&key.device) => {
                return Door::Refused(Reason::NotSelected);
            }
            None => {}
        }
        match &self.open {
            Some(open) if open.plan.key == key.round => open.door(key),
            _ if self.may_open(&key.round) => Door::Waits,
            _ => Door::Answered(Admission::Rejected(Reason::Stale)),
        }
    }

    /// The contribution that is in the sum under that key.
    pub(super) fn digest_of(&self, key: &ContributionKey) -> Option<Digest> {
        let open = self.open.as_ref().filter(|open| open.plan.key == key.round);
        let restored = self
            .restored
            .as_ref()
            .filter(|r| r.partial.key == key.round);
        let open = open.and_then(|open| open.admitted.get(&key.device));
        let restored = restored.and_then(|restored| restored.admitted.get(&key.device));
        open.or(restored).copied()
    }

    fn awaits_snapshot(&self, key: &ContributionKey) -> bool {
        let open = self.open.as_ref().filter(|open| open.plan.key == key.round);
        open.is_some_and(|open| open.awaits_snapshot(&key.device))
    }

    fn admit(&mut self, contribution: &Contribution, digest: Digest) -> Vec<FogEffect> {
        let key = contribution.key.clone();
        let Some(open) = self.open_at(&key.round) else {
            return Vec::new();
        };
        let Some(sum) = open.sum.as_mut() else {
            return Vec::new();
        };
        if let Err(error) = sum.add(&contribution.payload) {
            return self.refuse(key, error.reason());
        }
        open.out.remove(&key.device);
        open.admitted.insert(key.device.clone(), digest);
        open.unpersisted.insert(key.device);
        persist(open).into_iter().collect()
    }

    /// Notes and answers a device that is out of this phase.
    pub(super) fn refuse(&mut self, key: ContributionKey, reason: Reason) -> Vec<FogEffect> {
        let mut effects = vec![FogEffect::Receipt(key.clone(), Admission::Rejected(reason))];
        effects.extend(self.leave_out(&key, reason));
        effects
    }

    pub(super) fn leave_out(&mut self, key: &ContributionKey, reason: Reason) -> Vec<FogEffect> {
        let known = self.presence.contains(&key.device);
        let in_sum = self.digest_of(key).is_some();
        let Some(open) = self.open_at(&key.round) else {
            return Vec::new();
        };
        let collecting = matches!(open.stage, Stage::Collecting { .. } | Stage::Fetching);
        if !known || !collecting || in_sum {
            return Vec::new();
        }
        if open.out.insert(key.device.clone(), reason) == Some(reason) {
            return Vec::new();
        }
        vec![FogEffect::DeviceDone(key.clone(), Err(reason))]
    }

    pub(super) fn on_persisted(&mut self, key: &RoundKey) -> Vec<FogEffect> {
        let Some(open) = self.open_at(key) else {
            return Vec::new();
        };
        let durable = std::mem::take(&mut open.persisting);
        let mut effects = Vec::new();
        for device in durable {
            let round = key.clone();
            let key = ContributionKey { round, device };
            effects.push(FogEffect::Receipt(key.clone(), Admission::Admitted));
            effects.push(FogEffect::DeviceDone(key, Ok(())));
        }
        effects.extend(persist(open));
        effects
    }
}

impl Open {
    /// What the phase says to a device of the roster that is not in its sum.
    fn door(&self, key: &ContributionKey) -> Door {
        match self.stage {
            // The device sends again until the fog has the model to check it against.
            Stage::Fetching => Door::Waits,
            Stage::Closing | Stage::Closed { .. } => {
                Door::Answered(Admission::Rejected(Reason::Late))
            }
            Stage::Collecting { .. } => match self.out.get(&key.device) {
                Some(&reason) if !may_return(reason) => Door::Refused(reason),
                _ if self.admitted.len() >= self.plan.region_contributions_max as usize => {
                    match self.is_saving() {
                        // Whose place is not durable yet may lose it by a kill.
                        true => Door::Waits,
                        false => Door::Refused(Reason::Quota),
                    }
                }
                _ => Door::Open,
            },
        }
    }
}

/// Whether a device that is out for that reason may still come in before the phase closes.
pub(super) fn may_return(reason: Reason) -> bool {
    matches!(reason, Reason::Disconnected | Reason::Deadline)
}

/// What the fog says to a contribution at the door.
enum Door {
    Open,
    Settled(Outcome),
    Answered(Admission),
    Refused(Reason),
    Waits,
}

/// What a device is told that sends a contribution whose phase is over.
fn settled(key: ContributionKey, outcome: Outcome) -> FogEffect {
    FogEffect::Welcome(key.device, vec![(key.round, Answer::Settled(outcome))])
}

/// Group commit: one snapshot at a time, with everybody who came since the last.
fn persist(open: &mut Open) -> Option<FogEffect> {
    if !open.persisting.is_empty() || open.unpersisted.is_empty() {
        return None;
    }
    open.persisting = std::mem::take(&mut open.unpersisted);
    Some(FogEffect::Persist(open.plan.key.clone()))
}
