//! The gateway's side: admits each device once, and reports one exact sum.
//!
//! ```text
//! plan ─► fetching ─► collecting ─► closed (partial stored) ─► settled
//!                        │  ▲
//!                        └──┘ admit: add, persist, then receipt
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fl_aggregate::ExactSum;
use fl_model::{
    Admission, Contribution, ContributionKey, DeviceId, Digest, Epoch, JobId, Outcome, PartialSum,
    Reason, RegionId, RoundKey, RoundOutcome, RoundPlan,
};

use crate::edge::Answer;
use crate::time::{Millis, Timeout};

mod admission;
mod closing;
mod presence;

use presence::Presence;

/// How long a fog waits, and how much it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FogLimits {
    /// A device is dead after that long without a beat.
    pub silence_ms: Millis,
    /// After a start, devices that were not heard yet are waited for that long.
    pub grace_ms: Millis,
    /// Settled phases whose outcome is remembered per device.
    pub settled_max: usize,
}

/// What happens to a fog.
#[derive(Debug, Clone, PartialEq)]
pub enum FogEvent {
    /// The devices of the region, as the roster names them now.
    Roster(BTreeSet<DeviceId>),
    /// A plan with a valid signature arrived.
    Plan(Box<RoundPlan>),
    /// Its objects are here; the model has that many coordinates per tensor.
    ObjectsReady(RoundKey, Vec<usize>),
    /// That many bytes of plan and objects went down to the devices.
    SentDown(RoundKey, u64),
    /// A contribution with a valid signature arrived, `bytes` long with SHA-256 `digest`.
    Contribution {
        /// What it says.
        contribution: Box<Contribution>,
        /// SHA-256 of the signed bytes.
        digest: Digest,
        /// Their length.
        bytes: u64,
    },
    /// A contribution that hashes to this digest is about to come in pieces: where its bytes would not
    /// be taken, the device is told so now.
    Announced(ContributionKey, Digest),
    /// Signed bytes of a device were refused before they could be read as a contribution.
    Refused(ContributionKey, Reason),
    /// A device says that it will not contribute.
    Declined(ContributionKey, Reason),
    /// A device's connection came up or was lost.
    Online(DeviceId, bool),
    /// A device was heard.
    Beat(DeviceId),
    /// A device connected and holds these contributions.
    Hello(DeviceId, Vec<RoundKey>),
    /// The snapshot of [`FogEffect::Persist`] is durable.
    Persisted(RoundKey),
    /// The partial of [`FogEffect::Close`] is durable; its signed bytes have that digest.
    PartialStored(RoundKey, Digest),
    /// The root settled a phase. `accepted` is the digest of this region's partial, where it is in.
    Settled {
        /// The phase.
        key: RoundKey,
        /// Whether its sum was taken.
        outcome: RoundOutcome,
        /// This region's partial in the record.
        accepted: Option<Digest>,
        /// Why it is not in the record.
        absent: Option<Reason>,
    },
    /// The job is over: its plan counts no more. How its last phase ended comes as
    /// [`FogEvent::Settled`], before this or after.
    JobEnded(JobId),
    /// The time of [`FogRound::next_timeout`] has come.
    Timeout,
}

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum FogEffect {
    /// Get the plan's model and parameters.
    Fetch(Box<RoundPlan>),
    /// Send plan and objects to the region's devices.
    Broadcast(Box<RoundPlan>),
    /// Write the snapshot of [`FogRound::snapshot`], then report [`FogEvent::Persisted`].
    Persist(RoundKey),
    /// Answer a device.
    Receipt(ContributionKey, Admission),
    /// Answer a device's hello.
    Welcome(DeviceId, Vec<(RoundKey, Answer)>),
    /// A device is in, rejected, declined or lost: for its span.
    DeviceDone(ContributionKey, Result<(), Reason>),
    /// Sign and store the partial, then report [`FogEvent::PartialStored`].
    Close(Box<PartialSum>),
    /// Publish the stored partial until the log has accepted it.
    Publish(RoundKey),
    /// Store the record durably, drop partial and snapshot, tell each device in it.
    Settle(SettledRecord),
    /// A plan was not followed because its root has been replaced.
    StalePlan(RoundKey, Epoch),
}

/// What became of the devices of a phase: answers to hellos long after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRecord {
    /// The phase.
    pub key: RoundKey,
    /// Per contributor.
    pub outcomes: BTreeMap<DeviceId, Outcome>,
}

/// A phase as the fog's disk remembers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// The sum and the rejected so far; `contributors` agree with `admitted`.
    pub partial: PartialSum,
    /// SHA-256 of each contribution in the sum.
    pub admitted: BTreeMap<DeviceId, Digest>,
    /// SHA-256 of the signed partial, where the phase was closed.
    pub closed: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fetching,
    Collecting { deadline: Millis },
    Closing,
    Closed { digest: Digest },
}

/// A phase in progress.
#[derive(Debug)]
struct Open {
    plan: Box<RoundPlan>,
    stage: Stage,
    sum: Option<ExactSum>,
    admitted: BTreeMap<DeviceId, Digest>,
    /// Added to the sum, not yet in a durable snapshot.
    unpersisted: BTreeSet<DeviceId>,
    /// In the snapshot that is being written.
    persisting: BTreeSet<DeviceId>,
    out: BTreeMap<DeviceId, Reason>,
    edge_up_bytes: u64,
    down_bytes: u64,
}

impl Open {
    /// Whether somebody is in the sum who is not in a durable snapshot.
    fn is_saving(&self) -> bool {
        !self.unpersisted.is_empty() || !self.persisting.is_empty()
    }

    fn awaits_snapshot(&self, device: &DeviceId) -> bool {
        self.unpersisted.contains(device) || self.persisting.contains(device)
    }
}

/// A fog's state between two events.
///
/// Plans, settlements and the end of a job are fed in the order of the root's stream, in which a phase
/// is settled before the next plan comes. Contributions whose fate that stream has yet to tell are not
/// answered: their devices send again.
#[derive(Debug)]
pub struct FogRound {
    region: RegionId,
    limits: FogLimits,
    epoch: Epoch,
    presence: Presence,
    /// A phase that is not followed any more, or not yet again, and whose end is not told.
    restored: Option<Restored>,
    open: Option<Open>,
    settled: VecDeque<SettledRecord>,
    /// Jobs of which the root's stream has told since the start, by plan or end.
    heard: BTreeSet<JobId>,
    /// The newest settled phase of each job, whether or not this fog was in it.
    over: BTreeMap<JobId, RoundKey>,
}

impl FogRound {
    /// A fog as its disk remembers it, started at `now`.
    pub fn restore(
        region: RegionId,
        limits: FogLimits,
        epoch: Epoch,
        restored: Option<Restored>,
        settled: Vec<SettledRecord>,
        now: Millis,
    ) -> Self {
        let mut fog = Self {
            region,
            limits,
            epoch,
            presence: Presence::new(limits.silence_ms, now + limits.grace_ms),
            restored,
            open: None,
            settled: settled.into(),
            heard: BTreeSet::new(),
            over: BTreeMap::new(),
        };
        let keys: Vec<_> = fog
            .settled
            .iter()
            .map(|record| record.key.clone())
            .collect();
        keys.into_iter().for_each(|key| fog.set_over(key));
        // A kill can leave a snapshot behind whose phase was settled.
        let restored = fog.restored.take();
        fog.restored = restored.filter(|r| fog.record(&r.partial.key).is_none());
        fog
    }

    /// Devices whose connection is up.
    pub fn online(&self) -> u32 {
        self.presence.online()
    }

    /// The highest epoch seen.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The phase in progress: key, devices admitted, devices out.
    pub fn progress(&self) -> Option<(&RoundKey, usize, usize)> {
        let open = self.open.as_ref()?;
        Some((&open.plan.key, open.admitted.len(), open.out.len()))
    }

    /// The roster's devices, and whether each may still answer.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, bool)> {
        let devices = self.presence.devices();
        devices.map(|device| (device, self.presence.is_awaited(device)))
    }

    /// Whether the device's connection is up.
    pub fn is_online(&self, device: &DeviceId) -> bool {
        self.presence.is_online(device)
    }

    /// SHA-256 of the contribution that is in the sum under that key.
    pub fn admitted(&self, key: &ContributionKey) -> Option<Digest> {
        self.digest_of(key)
    }

    /// Whether the phase's end is known.
    pub fn is_settled(&self, key: &RoundKey) -> bool {
        self.is_over(key)
    }

    /// The plan that is being followed.
    pub fn plan(&self) -> Option<&RoundPlan> {
        self.open.as_ref().map(|open| &*open.plan)
    }

    /// What has to be durable before a receipt goes out.
    pub fn snapshot(&self) -> Option<Restored> {
        let open = self.open.as_ref()?;
        Some(Restored {
            partial: self.partial(open)?,
            admitted: open.admitted.clone(),
            closed: None,
        })
    }

    /// When to call with [`FogEvent::Timeout`].
    pub fn next_timeout(&self) -> Option<Timeout> {
        let why = "the round's deadline";
        let deadline = self.open.as_ref().and_then(|open| match open.stage {
            // While a snapshot is written nothing can close: its end is the next event.
            Stage::Collecting { deadline } if !open.is_saving() => {
                Some(Timeout { at: deadline, why })
            }
            _ => None,
        });
        Timeout::earlier(deadline, self.presence.next_change())
    }

    /// Takes one event.
    pub fn handle(&mut self, event: FogEvent, now: Millis) -> Vec<FogEffect> {
        self.presence.expire(now);
        let mut effects = match event {
            FogEvent::Roster(devices) => {
                self.presence.set_roster(devices);
                Vec::new()
            }
            FogEvent::Plan(plan) => self.on_plan(plan),
            FogEvent::ObjectsReady(key, tensors) => self.on_objects(&key, &tensors, now),
            FogEvent::SentDown(key, bytes) => {
                if let Some(open) = self.open_at(&key) {
                    open.down_bytes += bytes;
                }
                Vec::new()
            }
            FogEvent::Contribution {
                contribution,
                digest,
                bytes,
            } => self.on_contribution(&contribution, digest, bytes, now),
            FogEvent::Announced(key, digest) => {
                self.presence.heard(&key.device, now);
                self.turn_away(&key, digest).unwrap_or_default()
            }
            FogEvent::Refused(key, reason) => {
                self.presence.heard(&key.device, now);
                self.on_refused(key, reason)
            }
            FogEvent::Declined(key, reason) => {
                self.presence.heard(&key.device, now);
                self.leave_out(&key, reason)
            }
            FogEvent::Online(device, online) => {
                self.presence.set_online(&device, online, now);
                Vec::new()
            }
            FogEvent::Beat(device) => {
                self.presence.heard(&device, now);
                Vec::new()
            }
            FogEvent::Hello(device, held) => {
                self.presence.set_online(&device, true, now);
                let answer = |key: RoundKey| Some((key.clone(), self.answer(&device, &key)?));
                let answers = held.into_iter().filter_map(answer).collect();
                vec![FogEffect::Welcome(device, answers)]
            }
            FogEvent::Persisted(key) => self.on_persisted(&key),
            FogEvent::PartialStored(key, digest) => self.on_partial_stored(key, digest),
            FogEvent::Settled {
                key,
                outcome,
                accepted,
                absent,
            } => self.on_settled(key, outcome, accepted, absent),
            FogEvent::JobEnded(job) => {
                self.on_job_ended(job);
                Vec::new()
            }
            FogEvent::Timeout => Vec::new(),
        };
        effects.extend(self.close_if_due(now));
        effects
    }

    fn open_at(&mut self, key: &RoundKey) -> Option<&mut Open> {
        self.open.as_mut().filter(|open| open.plan.key == *key)
    }

    fn on_plan(&mut self, plan: Box<RoundPlan>) -> Vec<FogEffect> {
        if plan.epoch < self.epoch {
            return vec![FogEffect::StalePlan(plan.key.clone(), self.epoch)];
        }
        self.epoch = plan.epoch;
        self.heard.insert(plan.key.job.clone());
        let same_job = |open: &&Open| open.plan.key.job == plan.key.job;
        let open = self.open.as_ref().filter(same_job);
        if open.is_some_and(|open| plan.key <= open.plan.key) || self.is_over(&plan.key) {
            return Vec::new();
        }
        self.set_aside();
        self.open = Some(Open {
            plan: plan.clone(),
            stage: Stage::Fetching,
            sum: None,
            admitted: BTreeMap::new(),
            unpersisted: BTreeSet::new(),
            persisting: BTreeSet::new(),
            out: BTreeMap::new(),
            edge_up_bytes: 0,
            down_bytes: 0,
        });
        vec![FogEffect::Fetch(plan)]
    }

    /// Follows the open phase no more, and keeps who is in it until its end is told.
    fn set_aside(&mut self) {
        let admitted = |open: &Open| !open.admitted.is_empty();
        let Some(open) = self.open.take().filter(admitted) else {
            return;
        };
        if let Some(partial) = self.partial(&open) {
            let closed = match open.stage {
                Stage::Closed { digest } => Some(digest),
                _ => None,
            };
            self.restored = Some(Restored {
                partial,
                admitted: open.admitted,
                closed,
            });
        }
    }

    fn on_objects(&mut self, key: &RoundKey, tensors: &[usize], now: Millis) -> Vec<FogEffect> {
        let restored = self.restored.take_if(|r| r.partial.key == *key);
        let Some(open) = self.open_at(key) else {
            return Vec::new();
        };
        if open.stage != Stage::Fetching {
            return Vec::new();
        }
        let mut sum = ExactSum::empty(&open.plan, tensors);
        let deadline = now + Millis::from(open.plan.deadline_ms);
        open.stage = Stage::Collecting { deadline };
        let mut effects = Vec::new();
        // A snapshot of another shape is of another model: it is left aside, and devices send again.
        if let Some(restored) = restored.filter(|r| sum.merge(&r.partial.sum).is_ok()) {
            open.edge_up_bytes = restored.partial.edge_up_bytes;
            open.down_bytes = restored.partial.down_bytes;
            open.admitted = restored.admitted;
            // Whoever was refused since the restart was told so, and stays out, too.
            for absence in restored.partial.absent {
                open.out.entry(absence.device).or_insert(absence.reason);
            }
            if let Some(digest) = restored.closed {
                open.stage = Stage::Closed { digest };
                open.sum = Some(sum);
                return vec![FogEffect::Publish(key.clone())];
            }
            // Who was lost or late before the restart may still come; who was refused may not.
            let gone =
                |reason: &mut Reason| matches!(reason, Reason::Disconnected | Reason::Deadline);
            open.out.retain(|_, reason| !gone(reason));
            let admitted = open.admitted.keys().cloned();
            effects.extend(admitted.map(|device| {
                let round = key.clone();
                FogEffect::DeviceDone(ContributionKey { round, device }, Ok(()))
            }));
        }
        open.sum = Some(sum);
        effects.insert(0, FogEffect::Broadcast(open.plan.clone()));
        effects
    }
}
