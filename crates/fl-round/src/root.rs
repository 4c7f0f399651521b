//! The cloud's side: one job, whose state is the fold of its log.
//!
//! ```text
//!            ┌────────────── next round ───────────────┐
//! waiting ─► open ─► (partials accepted) ─► closed ─► settled ─► … ─► ended
//!               Opened      PartialAccepted   Closed     Settled       Ended     (log entries)
//! ```
//! An event asks for an entry to be appended; only when the log has taken it does the state move and
//! do effects follow. So a root that is killed anywhere starts again from the log alone.

use std::collections::{BTreeMap, BTreeSet};

use fl_aggregate::ExactSum;
use fl_model::{
    DeviceId, Digest, Epoch, Grid, JobEnd, JobFailure, JobId, JobSpec, LogEntry, Normalization,
    ObjectRef, PartialSum, PhaseResult, Reason, RegionId, RoundKey, RoundNumber, RoundOutcome,
    RoundPlan, Sum, TraceContext,
};

use crate::time::{Millis, Timeout};

mod closing;
mod fold;
mod opening;
mod record;

pub use closing::PartialRefusal;
pub use fold::ReplayError;
pub use record::{Failover, PhaseRecord, RegionRecord, RoundRecord};

/// How long a root waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootLimits {
    /// A fog is dead after that long without a beat.
    pub fog_silence_ms: Millis,
    /// After a start, fogs that were not heard yet are waited for that long.
    pub grace_ms: Millis,
    /// Added to the plan's deadline for what a fog needs to close and report.
    pub report_ms: Millis,
    /// Before the first phase, devices that are not there yet are waited for that long once there are enough.
    pub gather_ms: Millis,
    /// Before a round is tried again after one without its quorum; doubles with each that follows.
    pub retry_ms: Millis,
    /// The longest such pause.
    pub retry_max_ms: Millis,
}

/// What happens to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum RootEvent {
    /// The log is read, objects are in reach: go on.
    Started,
    /// The log took the entry that was asked for last.
    Committed(LogEntry),
    /// The regions that have a fog, and the devices that the roster names there.
    Regions(BTreeMap<RegionId, u32>),
    /// A fog was heard: that many of its devices are connected.
    Beat(RegionId, u32),
    /// A partial with a valid signature arrived; `bytes` long with SHA-256 `digest`.
    Partial {
        /// What it says.
        partial: Box<PartialSum>,
        /// SHA-256 of the signed bytes.
        digest: Digest,
        /// Their length.
        bytes: u64,
    },
    /// What the region's fog has signed for that phase cannot be taken, and nothing else will come.
    Refused(RoundKey, RegionId, Reason),
    /// The result of [`RootEffect::Merge`] is stored.
    Merged(RoundKey, Box<PhaseResult>),
    /// [`RootEffect::Merge`] cannot be carried out, now or later.
    MergeFailed(RoundKey, JobFailure),
    /// The bus was away and is back: until now nobody could be heard.
    Reconnected,
    /// An operator ends the job.
    Stop,
    /// The time of [`RootRound::next_timeout`] has come.
    Timeout,
}

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum RootEffect {
    /// Append to the job's log, then report [`RootEvent::Committed`].
    Append(LogEntry),
    /// Send the plan to the regions.
    PublishPlan(Box<RoundPlan>, Vec<RegionId>),
    /// Read that accepted partial again and report it as [`RootEvent::Partial`]: it was before a restart.
    /// The reference is to its signed bytes, wherever they lie.
    FetchPartial(RoundKey, RegionId, ObjectRef),
    /// A partial is not taken: say why, keep its bytes aside.
    RefusePartial(RegionId, Digest, PartialRefusal),
    /// Merge, store the result, then report [`RootEvent::Merged`] or [`RootEvent::MergeFailed`].
    Merge(Box<MergeInput>),
    /// Tell the regions how the phase ended. After a restart it may be told again.
    PublishSettled(Box<PhaseRecord>),
    /// The round is over: for its trace and its line. After a restart it may be told again.
    RoundDone(Box<RoundRecord>),
    /// Too few devices are there to open the next phase.
    Waiting {
        /// Devices connected.
        online: u32,
        /// Devices needed.
        quorum: u32,
    },
    /// The job is over: take its plan back.
    Ended(JobEnd),
}

/// Everything that a merge needs.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeInput {
    /// The plan whose phase is merged.
    pub plan: Box<RoundPlan>,
    /// The sum over all accepted regions.
    pub sum: Sum,
    /// The server optimiser's moments before this round.
    pub moments: Option<ObjectRef>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootStage {
    /// Between phases.
    Waiting,
    /// A phase collects partials.
    Open,
    /// A phase is being merged.
    Closed,
    /// Over.
    Ended(JobEnd),
}

/// The phase in progress.
#[derive(Debug)]
struct Current {
    plan: Box<RoundPlan>,
    regions: Vec<RegionId>,
    accepted: BTreeMap<RegionId, Digest>,
    /// Regions whose partial this process refused for good: they are not waited for.
    refused: BTreeMap<RegionId, Reason>,
    closed: Option<RoundOutcome>,
    sum: ExactSum,
    merged: BTreeSet<RegionId>,
    contributors: BTreeSet<DeviceId>,
    deadline: Option<Millis>,
}

/// A fog as the root hears it.
#[derive(Debug, Clone, Copy)]
struct Fog {
    devices: u32,
    online: u32,
    heard: Option<Millis>,
}

/// What was seen since the last phase opened: whether those who were missing have come.
#[derive(Debug, Clone, Copy, Default)]
struct Lull {
    /// Fewest devices that were connected.
    fewest: u32,
    /// When the next phase may open at the earliest, though more have come.
    soonest: Millis,
}

/// A job's state between two events.
#[derive(Debug)]
pub struct RootRound {
    limits: RootLimits,
    // Folded from the log.
    job: JobId,
    spec: Box<JobSpec>,
    model: ObjectRef,
    tensors: Vec<usize>,
    parameters: ObjectRef,
    moments: Option<ObjectRef>,
    /// Parameters and moments of the round before: who is late may still ask for them.
    previous: Vec<ObjectRef>,
    /// Objects that nobody needs any more, since they were last taken out.
    retired: Vec<ObjectRef>,
    grid: Grid,
    normalization: Option<Normalization>,
    epoch: Epoch,
    next: Option<RoundKey>,
    merged_rounds: u32,
    /// Rounds without their quorum since the last phase that was merged.
    failures: u32,
    current: Option<Current>,
    record: RoundRecord,
    /// The round before `record`: a process that was killed may not have told of it.
    record_before: Option<RoundRecord>,
    ended: Option<JobEnd>,
    last_at_us: u64,
    // Of this process only.
    outranks: Epoch,
    now: Millis,
    started: Option<Millis>,
    fogs: BTreeMap<RegionId, Fog>,
    enough_since: Option<Millis>,
    not_before: Millis,
    lull: Lull,
    appending: bool,
    waiting_said: Option<u32>,
}

impl RootRound {
    /// The job's name.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// What the operator asked for.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The user's model.
    pub fn model(&self) -> ObjectRef {
        self.model
    }

    /// The newest global parameters.
    pub fn parameters(&self) -> ObjectRef {
        self.parameters
    }

    /// The objects that somebody may still ask for.
    pub fn objects(&self) -> impl Iterator<Item = ObjectRef> {
        let newest = [self.model, self.parameters];
        let before = self.previous.iter().copied();
        newest.into_iter().chain(self.moments).chain(before)
    }

    /// Takes out the objects that nobody needs any more: parameters and moments of rounds long past, and
    /// partials of settled phases, which lie in the store where they were too large for a message.
    pub fn take_retired(&mut self) -> Vec<ObjectRef> {
        let needed: BTreeSet<_> = self.objects().map(|object| object.digest).collect();
        let mut retired = std::mem::take(&mut self.retired);
        retired.retain(|object| !needed.contains(&object.digest));
        retired
    }

    /// The scale of the inputs, once the statistics phase is merged.
    pub fn normalization(&self) -> Option<&Normalization> {
        self.normalization.as_ref()
    }

    /// The epoch in which this root leads.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Before [`RootEvent::Started`]: lead in an epoch above that one, too. Fogs and devices refuse an
    /// epoch below the highest that they saw in any job, so a job leads above all jobs before it.
    pub fn outrank(&mut self, epoch: Epoch) {
        self.outranks = self.outranks.max(epoch);
    }

    /// Training rounds merged so far.
    pub fn merged_rounds(&self) -> u32 {
        self.merged_rounds
    }

    /// Where the job stands.
    pub fn stage(&self) -> RootStage {
        match (&self.current, self.ended) {
            (_, Some(how)) => RootStage::Ended(how),
            (Some(current), _) if current.closed.is_some() => RootStage::Closed,
            (Some(_), _) => RootStage::Open,
            (None, _) => RootStage::Waiting,
        }
    }

    /// The plan of the phase in progress.
    pub fn plan(&self) -> Option<&RoundPlan> {
        self.current.as_ref().map(|current| &*current.plan)
    }

    /// The next phase to open; none once all rounds are done.
    pub fn next_key(&self) -> Option<&RoundKey> {
        self.next.as_ref()
    }

    /// The round in progress, or the last one.
    pub fn record(&self) -> &RoundRecord {
        &self.record
    }

    /// When to call with [`RootEvent::Timeout`].
    pub fn next_timeout(&self) -> Option<Timeout> {
        let started = self
            .started
            .filter(|_| self.ended.is_none() && self.epoch.0 > 0)?;
        match &self.current {
            None => self.opening_timeout(),
            Some(current) if current.closed.is_some() => None,
            Some(current) => {
                let why = "the round's deadline";
                let deadline = current.deadline.map(|at| Timeout { at, why });
                Timeout::earlier(deadline, self.silence_timeout(current, started))
            }
        }
    }

    /// Takes one event. `at_us` is the wall clock, written into log entries for traces only.
    /// `trace` gives the context of a round's span.
    pub fn handle(
        &mut self,
        event: RootEvent,
        now: Millis,
        at_us: u64,
        trace: impl Fn(&JobId, RoundNumber) -> TraceContext,
    ) -> Vec<RootEffect> {
        self.now = now;
        let mut effects = match event {
            RootEvent::Started => self.on_started(now, at_us),
            RootEvent::Committed(entry) => self.on_committed(entry, now),
            RootEvent::Regions(regions) => {
                self.set_regions(regions);
                Vec::new()
            }
            RootEvent::Beat(region, online) => {
                self.on_beat(region, online, now);
                Vec::new()
            }
            RootEvent::Partial {
                partial,
                digest,
                bytes,
            } => self.on_partial(&partial, digest, bytes, at_us),
            RootEvent::Refused(key, region, reason) => {
                self.leave_out(&key, &region, reason);
                Vec::new()
            }
            RootEvent::Merged(key, result) => self.on_merged(key, result, at_us),
            RootEvent::MergeFailed(key, failure) => self.on_merge_failed(&key, failure, at_us),
            RootEvent::Reconnected => {
                self.on_reconnected(now);
                Vec::new()
            }
            RootEvent::Stop => self.on_stop(at_us),
            RootEvent::Timeout => Vec::new(),
        };
        if self.started.is_some() && self.ended.is_none() && !self.appending {
            effects.extend(self.close_if_due(now, at_us));
        }
        if self.started.is_some() && self.ended.is_none() && !self.appending {
            effects.extend(self.open_if_due(now, at_us, trace));
        }
        effects
    }

    fn on_started(&mut self, now: Millis, at_us: u64) -> Vec<RootEffect> {
        self.started = Some(now);
        match self.ended {
            Some(how) => self.job_done(how),
            None => {
                let epoch = Epoch(self.epoch.max(self.outranks).0 + 1);
                self.append(LogEntry::Led { epoch, at_us })
            }
        }
    }

    /// Asks for one entry; nothing else is asked for until the log has answered.
    fn append(&mut self, entry: LogEntry) -> Vec<RootEffect> {
        self.appending = true;
        vec![RootEffect::Append(entry)]
    }

    fn on_committed(&mut self, entry: LogEntry, now: Millis) -> Vec<RootEffect> {
        self.appending = false;
        let in_round = self.finished_round().is_none();
        self.apply(&entry);
        match entry {
            LogEntry::Led { .. } => self.resume(now),
            LogEntry::Opened { plan, regions, .. } => {
                self.set_deadline(now);
                self.lull.fewest = self.online();
                vec![RootEffect::PublishPlan(plan, regions)]
            }
            LogEntry::Closed { outcome, .. } => match outcome {
                RoundOutcome::Merged => self.merge_if_ready(),
                RoundOutcome::NoQuorum => {
                    self.back_off(now);
                    self.phase_done()
                }
            },
            LogEntry::Settled { .. } => self.phase_done(),
            LogEntry::Ended { how, .. } if in_round => self.job_done(how),
            LogEntry::Ended { how, .. } => vec![RootEffect::Ended(how)],
            LogEntry::Submitted { .. } | LogEntry::PartialAccepted { .. } => Vec::new(),
        }
    }

    /// The last round, once no phase of it is to come.
    pub fn finished_round(&self) -> Option<&RoundRecord> {
        let next = self.next.as_ref().filter(|_| self.ended.is_none());
        let next = next.map(|next| next.round);
        let over = self.current.is_none() && !self.record.phases.is_empty();
        (over && next != Some(self.record.round)).then_some(&self.record)
    }

    /// Tells of the phase that has just ended, and of the round where that was its last.
    fn phase_done(&self) -> Vec<RootEffect> {
        let Some(phase) = self.record.phases.last() else {
            return Vec::new();
        };
        let mut effects = vec![RootEffect::PublishSettled(Box::new(phase.clone()))];
        if let Some(record) = self.finished_round() {
            effects.push(RootEffect::RoundDone(Box::new(record.clone())));
        }
        effects
    }

    /// Tells of the job's end, and before it of the round that the end has cut off.
    fn job_done(&self, how: JobEnd) -> Vec<RootEffect> {
        let mut effects = self.phase_done();
        effects.push(RootEffect::Ended(how));
        effects
    }

    /// What a root that starts again has to do, in the middle of a phase or between two.
    fn resume(&mut self, now: Millis) -> Vec<RootEffect> {
        self.set_deadline(now);
        // Perhaps nobody was told of the round before this one: its end and this one's start may be the last
        // things that the log took.
        let before = self.record_before.iter().cloned().map(Box::new);
        let untold = before.filter(|_| self.finished_round().is_none());
        let mut effects: Vec<_> = untold.map(RootEffect::RoundDone).collect();
        let Some(current) = &self.current else {
            effects.extend(self.phase_done());
            return effects;
        };
        let key = &current.plan.key;
        if current.closed.is_none() {
            let plan = current.plan.clone();
            effects.push(RootEffect::PublishPlan(plan, current.regions.clone()));
        }
        let accepted = self.record.phases.last().map(|phase| &phase.accepted);
        effects.extend(accepted.into_iter().flatten().map(|(region, of)| {
            RootEffect::FetchPartial(key.clone(), region.clone(), of.signed())
        }));
        effects.extend(self.merge_if_ready());
        effects
    }

    fn set_deadline(&mut self, now: Millis) {
        if let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.closed.is_none())
        {
            let wait = Millis::from(current.plan.deadline_ms) + self.limits.report_ms;
            current.deadline = Some(now + wait);
        }
    }

    fn on_stop(&mut self, at_us: u64) -> Vec<RootEffect> {
        if self.ended.is_some() || self.appending {
            return Vec::new();
        }
        let how = JobEnd::Stopped;
        self.append(LogEntry::Ended { how, at_us })
    }
}
