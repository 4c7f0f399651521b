//! What the simulation knows and no process does: the promises of the protocol are checked against it.

use std::collections::{BTreeMap, BTreeSet};

use fl_aggregate::ExactSum;
use fl_model::{
    Contribution, DeviceId, Digest, Epoch, LogEntry, ObjectRef, Outcome, Payload, PhaseResult,
    ProtectedUpdate, RoundKey, RoundOutcome, RoundPlan, Work,
};
use fl_round::{MergeInput, Millis, PhaseRecord, RootRound};

use crate::device::add;
use crate::root::merge;
use crate::scenario::{ProcessId, Scenario, TENSORS};
use crate::world::World;

/// After healing, that long until everybody is known to be there or not.
const RECOVERY_MS: Millis = 4_000;

/// The phase that the log has open.
#[derive(Debug)]
struct Phase {
    plan: Box<RoundPlan>,
    sum: ExactSum,
    contributors: BTreeSet<DeviceId>,
    opened_ms: Millis,
}

#[derive(Debug)]
pub(crate) struct Truth {
    /// Everything that ever lay in an outbox.
    stored: BTreeMap<(RoundKey, DeviceId), Payload>,
    forgotten: BTreeMap<(RoundKey, DeviceId), Outcome>,
    /// In a merged sum.
    counted: BTreeSet<(RoundKey, DeviceId)>,
    /// Sum of the updates that each device stored; multiples of a power of two, so exact.
    learned: BTreeMap<DeviceId, Vec<Vec<f32>>>,
    /// Sum of what was counted of each device, on the plan's grid.
    merged: BTreeMap<DeviceId, Vec<Vec<f32>>>,
    phase: Option<Phase>,
    epoch: Epoch,
    parameters: ObjectRef,
    moments: Option<ObjectRef>,
    /// When each phase opened and closed.
    times: Vec<(Millis, Millis)>,
}

impl Truth {
    pub(crate) fn new(parameters: ObjectRef) -> Self {
        Self {
            stored: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            counted: BTreeSet::new(),
            learned: BTreeMap::new(),
            merged: BTreeMap::new(),
            phase: None,
            epoch: Epoch(0),
            parameters,
            moments: None,
            times: Vec::new(),
        }
    }

    pub(crate) fn parameters(&self) -> ObjectRef {
        self.parameters
    }

    pub(crate) fn phases_ms(&self) -> impl Iterator<Item = Millis> {
        self.times.iter().map(|(opened, closed)| closed - opened)
    }
}

fn zero() -> Vec<Vec<f32>> {
    TENSORS.iter().map(|&n| vec![0.0; n]).collect()
}

impl World {
    /// A device has put a contribution on its disk; `delta` is what it learned.
    pub(crate) fn check_stored(
        &mut self,
        contribution: &Contribution,
        delta: Option<&Vec<Vec<f32>>>,
    ) {
        let key = &contribution.key;
        let id = (key.round.clone(), key.device.clone());
        let before = self.truth.stored.insert(id, contribution.payload.clone());
        self.ensure(before.is_none(), || format!("{key} was made twice"));
        if let Some(delta) = delta {
            let learned = self.truth.learned.entry(key.device.clone());
            add(learned.or_insert_with(zero), delta);
        }
    }

    /// A device was told what became of a contribution.
    pub(crate) fn check_forgotten(&mut self, device: &DeviceId, key: RoundKey, outcome: Outcome) {
        let id = (key, device.clone());
        let stored = self.truth.stored.contains_key(&id);
        self.ensure(stored, || {
            format!("{device} forgets {} which it never had", id.0)
        });
        let counted = self.truth.counted.contains(&id);
        self.ensure(counted || outcome != Outcome::Counted, || {
            format!("{device} was told that {} counted, and it did not", id.0)
        });
        self.ensure(!counted || outcome == Outcome::Counted, || {
            format!(
                "{device} was told {outcome:?} about {}, which counted",
                id.0
            )
        });
        let before = self.truth.forgotten.insert(id.clone(), outcome);
        self.ensure(before.is_none(), || {
            format!("{device} forgets {} twice", id.0)
        });
    }

    /// A plan goes out.
    pub(crate) fn check_plan(&mut self, plan: &RoundPlan) {
        let opened = |entry: &LogEntry| match entry {
            LogEntry::Opened { plan: logged, .. } => **logged == *plan,
            _ => false,
        };
        let logged = self.nats.log.iter().any(opened);
        self.ensure(logged, || format!("plan {} is not in the log", plan.key));
    }

    /// A settlement goes out.
    pub(crate) fn check_settled(&mut self, record: &PhaseRecord) {
        let settles = |entry: &LogEntry| match entry {
            LogEntry::Settled { key, .. } => *key == record.key,
            LogEntry::Closed { key, outcome, .. } => {
                *key == record.key && *outcome == RoundOutcome::NoQuorum
            }
            LogEntry::Ended { .. } => true,
            _ => false,
        };
        let logged = self.nats.log.iter().any(settles);
        self.ensure(logged, || {
            format!("{} is told as settled and is not", record.key)
        });
    }

    /// The log has taken an entry.
    pub(crate) fn check_entry(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::Submitted { .. } => self.ensure(false, || "a second submission".into()),
            LogEntry::Led { epoch, .. } => {
                let before = std::mem::replace(&mut self.truth.epoch, *epoch);
                self.ensure(*epoch > before, || {
                    format!("epoch {epoch} follows {before}")
                });
            }
            LogEntry::Opened { plan, .. } => {
                let free = self.truth.phase.is_none();
                self.ensure(free, || format!("{} opens within a phase", plan.key));
                let newest = plan.epoch == self.truth.epoch;
                self.ensure(newest, || format!("{} opens in an old epoch", plan.key));
                self.truth.phase = Some(Phase {
                    plan: plan.clone(),
                    sum: ExactSum::empty(plan, &TENSORS),
                    contributors: BTreeSet::new(),
                    opened_ms: self.now,
                });
            }
            LogEntry::PartialAccepted { digest, .. } => self.check_partial(*digest),
            LogEntry::Closed { outcome, .. } => self.check_closed(*outcome),
            LogEntry::Settled { result, .. } => self.check_result(result),
            LogEntry::Ended { .. } => self.truth.phase = None,
        }
    }

    /// An accepted partial is the flat sum over its contributors, and nobody is in two.
    fn check_partial(&mut self, digest: Digest) {
        let (Some(stored), Some(mut phase)) = (self.nats.partial(digest), self.truth.phase.take())
        else {
            return self.ensure(false, || format!("{digest} is accepted out of place"));
        };
        let partial = stored.partial.clone();
        let mut flat = ExactSum::empty(&phase.plan, &TENSORS);
        for device in &partial.contributors {
            let id = (partial.key.clone(), device.clone());
            let added =
                self.truth.stored.get(&id).is_some_and(|payload| {
                    flat.add(payload).is_ok() && phase.sum.add(payload).is_ok()
                });
            self.ensure(added, || {
                format!("{device} is in a sum of {} without reason", id.0)
            });
            let first = phase.contributors.insert(device.clone());
            self.ensure(first, || format!("{device} is twice in {}", partial.key));
        }
        let exact = *flat.sum() == partial.sum;
        self.ensure(exact, || {
            format!("{}'s sum is not the flat sum", partial.region)
        });
        self.truth.phase = Some(phase);
    }

    fn check_closed(&mut self, outcome: RoundOutcome) {
        let Some(phase) = self.truth.phase.take() else {
            return self.ensure(false, || "a phase closes that is not open".into());
        };
        let enough = phase.contributors.len() >= phase.plan.quorum as usize;
        let right = enough == (outcome == RoundOutcome::Merged);
        self.ensure(right, || {
            format!("{} closes as {outcome:?}", phase.plan.key)
        });
        self.check_duration(&phase);
        if enough {
            self.truth.phase = Some(phase);
        }
    }

    /// Once nothing goes wrong any more, no phase waits for its deadline.
    fn check_duration(&mut self, phase: &Phase) {
        let took_ms = self.now - phase.opened_ms;
        self.truth.times.push((phase.opened_ms, self.now));
        let calm = phase.opened_ms > self.scenario.healed_ms + RECOVERY_MS;
        let waited = took_ms >= Scenario::DEADLINE_MS.into();
        self.ensure(!(calm && waited), || {
            format!("{} waited {took_ms} ms for nobody", phase.plan.key)
        });
    }

    /// A phase's result has the same bits as the flat sum over its contributors gives.
    fn check_result(&mut self, result: &PhaseResult) {
        let Some(phase) = self.truth.phase.take() else {
            return self.ensure(false, || "a phase is settled that is not closed".into());
        };
        let input = MergeInput {
            plan: phase.plan.clone(),
            sum: phase.sum.into_sum(),
            moments: self.truth.moments,
        };
        let flat = merge(&input, &mut self.nats);
        let based = phase.plan.parameters == self.truth.parameters;
        self.ensure(based, || {
            format!("{} starts from another model", phase.plan.key)
        });
        self.ensure(flat == *result, || {
            format!("{} differs from the flat sum", phase.plan.key)
        });
        if let PhaseResult::Train {
            parameters,
            moments,
            ..
        } = result
        {
            self.truth.parameters = *parameters;
            self.truth.moments = *moments;
        }
        for device in phase.contributors {
            self.count(&phase.plan, device);
        }
    }

    fn count(&mut self, plan: &RoundPlan, device: DeviceId) {
        let id = (plan.key.clone(), device);
        let told = self.truth.forgotten.get(&id).copied();
        self.ensure(told.is_none(), || {
            format!("{id:?} counts after its device heard {told:?}")
        });
        if let (Work::Train(work), Some(Payload::Update { update, .. })) =
            (&plan.work, self.truth.stored.get(&id))
        {
            let ProtectedUpdate::Plain { q, .. } = update;
            let decode = |(tensor, q): (usize, &Vec<i32>)| {
                let step = work.grid.step(tensor);
                q.iter().map(|&q| (f64::from(q) * step) as f32).collect()
            };
            let values: Vec<Vec<f32>> = q.iter().enumerate().map(decode).collect();
            add(
                self.truth.merged.entry(id.1.clone()).or_insert_with(zero),
                &values,
            );
        }
        self.truth.counted.insert(id);
    }

    /// A root's state is the fold of the log.
    pub(crate) fn check_fold(&mut self, root: usize) {
        let Some(live) = &self.roots[root].host.machine else {
            return;
        };
        let Ok(fold) = RootRound::replay(Scenario::ROOT, &self.nats.log) else {
            return self.ensure(false, || "the log cannot be read".into());
        };
        let same = fold.stage() == live.stage()
            && fold.plan() == live.plan()
            && fold.next_key() == live.next_key()
            && fold.parameters() == live.parameters()
            && fold.normalization() == live.normalization()
            && fold.epoch() == live.epoch()
            && fold.merged_rounds() == live.merged_rounds()
            && fold.record() == live.record();
        self.ensure(same, || format!("root{root} is not the fold of its log"));
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        let ended = matches!(self.nats.log.last(), Some(LogEntry::Ended { .. }));
        let mut devices = self.devices.keys();
        self.healed && ended && devices.all(|device| self.is_drained(device))
    }

    /// Whether a device holds nothing, or there is nobody any more who could take it.
    fn is_drained(&self, device: &DeviceId) -> bool {
        let state = &self.devices[device];
        let gone = state.host.gone || self.fogs[&state.region].host.gone;
        gone || state.disk.outbox.is_empty()
    }

    pub(crate) fn check_end(&mut self) {
        let ended = matches!(self.nats.log.last(), Some(LogEntry::Ended { .. }));
        self.ensure(ended, || "the job does not end".into());
        let devices: Vec<_> = self.devices.keys().cloned().collect();
        for device in devices {
            self.check_device(&device);
        }
        for (id, outcome) in self.truth.forgotten.clone() {
            let counted = self.truth.counted.contains(&id);
            let right = counted == (outcome == Outcome::Counted);
            self.ensure(right, || format!("{id:?} heard {outcome:?}"));
        }
    }

    /// Everything that a device learned is in the model, in its residual, or still in its outbox.
    fn check_device(&mut self, device: &DeviceId) {
        let state = &self.devices[device];
        let held: Vec<_> = state.disk.outbox.keys().cloned().collect();
        let drained = self.is_drained(device);
        let learned = self.truth.learned.get(device).cloned().unwrap_or_else(zero);
        let mut kept = self.truth.merged.get(device).cloned().unwrap_or_else(zero);
        add(&mut kept, &state.disk.residual);
        for (key, stored) in &state.disk.outbox {
            let counted = self.truth.counted.contains(&(key.clone(), device.clone()));
            add(
                &mut kept,
                if counted { &stored.left } else { &stored.input },
            );
        }
        let process = ProcessId::Device(device.clone());
        self.ensure(drained, || format!("{process:?} still holds {held:?}"));
        self.ensure(learned == kept, || {
            format!("{device} learned {learned:?} and {kept:?} is kept of it")
        });
    }
}
