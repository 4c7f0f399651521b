//! The shell of a device: its disk, its training, its effects.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::{
    Contribution, ContributionKey, DeviceId, Digest, EncodedUpdate, Epoch, EvaluationCounters,
    FeatureStatistics, Outcome, Payload, ProtectedUpdate, Reason, RegionId, RoundKey, RoundPlan,
    TrainMetrics, Work,
};
use fl_round::{EdgeEffect, EdgeEvent, EdgeRound};

use crate::host::{Host, Life};
use crate::mqtt::UpMessage;
use crate::scenario::{Scenario, TENSORS, WEIGHT_MAX};
use crate::world::{Action, Event, World};

/// Until the objects of a plan are there.
const FETCH_MS: (u64, u64) = (1, 100);
/// Until a contribution is made.
const WORK_MS: (u64, u64) = (5, 400);
/// Coordinates of a simulated update are multiples of it, so that every sum below is exact.
const DELTA_STEP: f32 = 1.0 / 262_144.0;

/// A contribution as it lies in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct StoredContribution {
    pub(crate) contribution: Contribution,
    pub(crate) digest: Digest,
    /// What was encoded: the update and the residual that it took along.
    pub(crate) input: Vec<Vec<f32>>,
    /// What the encoding left.
    pub(crate) left: Vec<Vec<f32>>,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) host: Host<EdgeRound, EdgeEvent, EdgeEffect>,
    pub(crate) region: RegionId,
    pub(crate) session: Option<u32>,
    pub(crate) sessions: u32,
    working: BTreeSet<RoundKey>,
    pub(crate) disk: DeviceDisk,
}

#[derive(Debug)]
pub(crate) struct DeviceDisk {
    pub(crate) epoch: Epoch,
    pub(crate) last: Option<RoundKey>,
    pub(crate) outbox: BTreeMap<RoundKey, StoredContribution>,
    /// What no contribution in the outbox has taken along.
    pub(crate) residual: Vec<Vec<f32>>,
}

impl Device {
    pub(crate) fn new(region: RegionId) -> Self {
        Self {
            host: Host::new(),
            region,
            session: None,
            sessions: 0,
            working: BTreeSet::new(),
            disk: DeviceDisk {
                epoch: Epoch(0),
                last: None,
                outbox: BTreeMap::new(),
                residual: zero(),
            },
        }
    }
}

fn zero() -> Vec<Vec<f32>> {
    TENSORS.iter().map(|&n| vec![0.0; n]).collect()
}

pub(crate) fn add(into: &mut [Vec<f32>], more: &[Vec<f32>]) {
    let pairs = into.iter_mut().flatten().zip(more.iter().flatten());
    pairs.for_each(|(a, b)| *a += b);
}

impl World {
    pub(crate) fn start_device(&mut self, device: &DeviceId) {
        let state = self.device(device);
        state.working.clear();
        let disk = &state.disk;
        let outbox = disk.outbox.keys().cloned().collect();
        let machine =
            EdgeRound::restore(disk.epoch, disk.last.clone(), outbox, Scenario::RESEND_MS);
        state.host.start(machine);
        let life = state.host.life;
        self.after(1, Action::Connect(device.clone(), life));
    }

    /// Says whether an effect was carried out.
    pub(crate) fn step_device(&mut self, device: &DeviceId) -> bool {
        let now = self.now;
        let state = self.device(device);
        let clock = state.host.clock(now);
        if let Some(effect) = state.host.tasks.pop_front() {
            self.tell(|| format!("{device} {}", brief(&effect)));
            self.edge_effect(device, effect);
            return true;
        }
        if let (Some(machine), Some(event)) =
            (&mut state.host.machine, state.host.inbox.pop_front())
        {
            let effects = machine.handle(event, clock);
            state.host.tasks.extend(effects);
        }
        false
    }

    fn edge_effect(&mut self, device: &DeviceId, effect: EdgeEffect) {
        let life = self.device(device).host.life;
        match effect {
            EdgeEffect::Hello(held) => self.send_up(device, UpMessage::Hello(held)),
            EdgeEffect::SaveEpoch(epoch) => self.device(device).disk.epoch = epoch,
            EdgeEffect::Fetch(plan) => {
                let lowest = self.device(device).disk.epoch;
                self.ensure(plan.epoch >= lowest, || {
                    format!(
                        "{device} follows a plan of epoch {} after {lowest}",
                        plan.epoch
                    )
                });
                let wait = self.random.within(FETCH_MS.0, FETCH_MS.1);
                let event = EdgeEvent::ObjectsReady(plan.key.clone());
                self.event_after(wait, life, Event::Device(device.clone(), event));
            }
            EdgeEffect::Work(plan) => {
                self.device(device).working.insert(plan.key.clone());
                let wait = self.random.within(WORK_MS.0, WORK_MS.1);
                self.after(wait, Action::Worked(device.clone(), life, plan));
            }
            // What is being made may be ready just then.
            EdgeEffect::Cancel(key) => {
                if self.random.chance(500) {
                    self.device(device).working.remove(&key);
                }
            }
            EdgeEffect::Send(key) => {
                let per_mille = self.scenario.behaviour.corrupt_per_mille;
                let corrupt = !self.healed && self.random.chance(per_mille);
                if let Some(stored) = self.device(device).disk.outbox.get(&key).cloned() {
                    let message = match corrupt {
                        true => UpMessage::Corrupt(key),
                        false => UpMessage::Contribution(Box::new(stored)),
                    };
                    self.send_up(device, message);
                }
            }
            EdgeEffect::Decline(key, reason) => {
                self.send_up(device, UpMessage::Declined(key, reason));
            }
            EdgeEffect::Forget(key, outcome) => self.forget(device, key, outcome),
            EdgeEffect::StalePlan(..) => {}
        }
    }

    /// One transaction: the bytes go, the residual is committed, the phase is over.
    fn forget(&mut self, device: &DeviceId, key: RoundKey, outcome: Outcome) {
        let state = self.device(device);
        if let Some(machine) = &state.host.machine {
            state.disk.last = machine.last().cloned();
        }
        if let Some(stored) = state.disk.outbox.remove(&key) {
            let kept = match outcome {
                Outcome::Counted => &stored.left,
                Outcome::Excluded(_) => &stored.input,
            };
            add(&mut state.disk.residual, kept);
        }
        self.check_forgotten(device, key, outcome);
    }

    /// The contribution is made: no two attempts make the same.
    pub(crate) fn worked(&mut self, device: &DeviceId, life: Life, plan: &RoundPlan) {
        let state = self.device(device);
        if !state.host.lives(life) || !state.working.remove(&plan.key) {
            return;
        }
        let key = plan.key.clone();
        if !self.healed
            && self
                .random
                .chance(self.scenario.behaviour.diverges_per_mille)
        {
            let event = EdgeEvent::Failed(key, Reason::Diverged);
            return self.event(Event::Device(device.clone(), event));
        }
        let delta = self.draw_delta();
        let mut input = zero();
        let mut left = zero();
        let payload = match &plan.work {
            Work::Statistics => self.draw_statistics(),
            Work::Evaluate(_) => self.draw_evaluation(),
            Work::Train(work) => {
                input = std::mem::replace(&mut self.device(device).disk.residual, zero());
                add(&mut input, &delta);
                // Every coordinate is a small finite number, and the grid has the model's tensors.
                #[expect(clippy::unwrap_used, reason = "such an update can always be encoded")]
                let encoded = work.grid.encode(&input).unwrap();
                left.clone_from(&encoded.residual);
                self.draw_update(encoded)
            }
        };
        let is_update = matches!(payload, Payload::Update { .. });
        let key = ContributionKey {
            round: key,
            device: device.clone(),
        };
        let contribution = Contribution {
            key: key.clone(),
            payload,
        };
        let digest = Digest::of(format!("{contribution:?}").as_bytes());
        self.check_stored(&contribution, is_update.then_some(&delta));
        let stored = StoredContribution {
            contribution,
            digest,
            input,
            left,
        };
        self.device(device)
            .disk
            .outbox
            .insert(key.round.clone(), stored);
        self.event(Event::Device(device.clone(), EdgeEvent::Stored(key.round)));
    }

    fn draw_delta(&mut self) -> Vec<Vec<f32>> {
        let steps = (1.0 / DELTA_STEP) as u64;
        let mut draw = || self.random.within(0, 2 * steps) as f32 * DELTA_STEP - 1.0;
        TENSORS
            .iter()
            .map(|&n| (0..n).map(|_| draw()).collect())
            .collect()
    }

    fn draw_statistics(&mut self) -> Payload {
        let rows = self.random.within(1, 9);
        let values: Vec<f32> = (0..rows)
            .map(|_| self.random.within(0, 99) as f32)
            .collect();
        // Small whole numbers can always be summed.
        #[expect(clippy::unwrap_used, reason = "such values can always be summed")]
        Payload::Statistics(FeatureStatistics::of(&values, 1).unwrap())
    }

    fn draw_update(&mut self, encoded: EncodedUpdate) -> Payload {
        let over = !self.healed
            && self
                .random
                .chance(self.scenario.behaviour.overweight_per_mille);
        let weight = self.random.within(1, WEIGHT_MAX) + u64::from(over) * WEIGHT_MAX;
        Payload::Update {
            update: ProtectedUpdate::Plain {
                weight,
                q: encoded.q,
            },
            metrics: TrainMetrics {
                examples: weight,
                loss: weight.into(),
                magnitudes: encoded.magnitudes,
                saturated: encoded.saturated,
            },
        }
    }

    fn draw_evaluation(&mut self) -> Payload {
        let examples = self.random.within(1, 9);
        Payload::Evaluation(EvaluationCounters {
            examples,
            loss: i128::from(examples) * 3,
            absolute_error: self.random.within(0, 99).into(),
            ..EvaluationCounters::default()
        })
    }
}

fn brief(effect: &EdgeEffect) -> String {
    match effect {
        EdgeEffect::Fetch(plan) => format!("Fetch({})", plan.key),
        EdgeEffect::Work(plan) => format!("Work({})", plan.key),
        other => format!("{other:?}"),
    }
}
