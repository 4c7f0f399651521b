//! Who is let into the sum, and what each device is told.

use fl_model::{Admission, Contribution, ContributionKey, Digest, Outcome, Reason, RoundKey};

use super::{FogEffect, FogRound, Open, Stage};
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
        match self.admission(&key, digest) {
            Door::Answered(admission) => vec![FogEffect::Receipt(key, admission)],
            Door::Waits => Vec::new(),
            Door::Refused(reason) => self.refuse(key, reason),
            Door::Open => self.admit(contribution, digest),
        }
    }

    /// What the fog says to a contribution before it looks at its payload.
    fn admission(&self, key: &ContributionKey, digest: Digest) -> Door {
        if !self.presence.contains(&key.device) {
            return Door::Refused(Reason::NotSelected);
        }
        let open = match &self.open {
            Some(open) if open.plan.key == key.round => open,
            _ => {
                return match self.settled_answer(&key.device, &key.round) {
                    Some(Outcome::Counted) => Door::Answered(Admission::Admitted),
                    Some(Outcome::Excluded(reason)) => Door::Answered(Admission::Rejected(reason)),
                    None => Door::Answered(Admission::Rejected(Reason::Stale)),
                };
            }
        };
        match (open.admitted.get(&key.device), open.stage) {
            (Some(&before), _) if before != digest => {
                Door::Answered(Admission::Rejected(Reason::Duplicate))
            }
            (Some(_), _) => {
                let waits =
                    open.unpersisted.contains(&key.device) || open.persisting.contains(&key.device);
                if waits {
                    Door::Waits
                } else {
                    Door::Answered(Admission::Admitted)
                }
            }
            // The device sends again until the fog has the model to check it against.
            (None, Stage::Fetching) => Door::Waits,
            (None, Stage::Closing | Stage::Closed { .. }) => {
                Door::Answered(Admission::Rejected(Reason::Late))
            }
            (None, Stage::Collecting { .. }) => match open.out.get(&key.device) {
                Some(&reason) if !may_return(reason) => Door::Refused(reason),
                _ if open.admitted.len() >= open.plan.contributions_max as usize => {
                    Door::Refused(Reason::Quota)
                }
                _ => Door::Open,
            },
        }
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
        let Some(open) = self.open_at(&key.round) else {
            return Vec::new();
        };
        let collecting = matches!(open.stage, Stage::Collecting { .. } | Stage::Fetching);
        if !known || !collecting || open.admitted.contains_key(&key.device) {
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

/// Whether a device that is out for that reason may still come in before the phase closes.
pub(super) fn may_return(reason: Reason) -> bool {
    matches!(reason, Reason::Disconnected | Reason::Deadline)
}

/// What the fog says to a contribution at the door.
enum Door {
    Open,
    Answered(Admission),
    Refused(Reason),
    Waits,
}

/// Group commit: one snapshot at a time, with everybody who came since the last.
fn persist(open: &mut Open) -> Option<FogEffect> {
    if !open.persisting.is_empty() || open.unpersisted.is_empty() {
        return None;
    }
    open.persisting = std::mem::take(&mut open.unpersisted);
    Some(FogEffect::Persist(open.plan.key.clone()))
}
