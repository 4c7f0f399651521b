//! The shell of a fog: its disk, its streams, its effects.

use std::collections::{BTreeSet, VecDeque};

use fl_model::{
    Admission, ContributionKey, DeviceId, Digest, Epoch, PartialSum, RegionId, RoundPlan,
};
use fl_round::{FogEffect, FogEvent, FogRound, Millis, Restored, RootEvent, SettledRecord};

use crate::host::{Host, Life};
use crate::mqtt::DownMessage as ToDevice;
use crate::nats::{DownMessage, StoredPartial};
use crate::scenario::{Scenario, TENSORS};
use crate::world::{Action, Event, World};

/// Until the objects of a plan are there.
const FETCH_MS: (u64, u64) = (1, 150);
/// Until a snapshot or a partial is on disk.
const FSYNC_MS: (u64, u64) = (0, 60);
/// Of a message through NATS.
const DELAY_MS: (u64, u64) = (1, 30);
/// Until something is tried again that NATS did not take.
const RETRY_MS: Millis = 50;

/// What a fog's shell has to do: an effect, or a part of one between which it may be killed.
#[derive(Debug)]
pub(crate) enum FogTask {
    Effect(FogEffect),
    Tell(DeviceId, ToDevice),
    Feed(FogEvent),
}

#[derive(Debug)]
pub(crate) struct Fog {
    pub(crate) host: Host<FogRound, FogEvent, FogTask>,
    pub(crate) devices: BTreeSet<DeviceId>,
    /// The plan that the region's broker retains.
    pub(crate) retained: Option<Box<RoundPlan>>,
    pub(crate) broker_cut_until: Millis,
    pub(crate) disk: FogDisk,
    /// Up to which message of its stream it has read, in this life.
    cursor: u64,
    pulling: bool,
}

#[derive(Debug, Default)]
pub(crate) struct FogDisk {
    epoch: Epoch,
    snapshot: Option<Restored>,
    settled: VecDeque<SettledRecord>,
}

impl FogDisk {
    /// Whether a contribution would survive a kill now, or needs not any more.
    fn holds(&self, key: &ContributionKey) -> bool {
        let snapshot = self
            .snapshot
            .as_ref()
            .filter(|s| s.partial.key == key.round);
        snapshot.is_some_and(|s| s.admitted.contains_key(&key.device))
            || self.settled.iter().any(|record| record.key == key.round)
    }
}

impl Fog {
    pub(crate) fn new(devices: BTreeSet<DeviceId>) -> Self {
        Self {
            host: Host::new(),
            devices,
            retained: None,
            broker_cut_until: 0,
            disk: FogDisk::default(),
            cursor: 0,
            pulling: false,
        }
    }
}

impl World {
    pub(crate) fn start_fog(&mut self, region: &RegionId) {
        let now = self.now;
        let fog = self.fog(region);
        let machine = FogRound::restore(
            region.clone(),
            Scenario::FOG,
            fog.disk.epoch,
            fog.disk.snapshot.clone(),
            fog.disk.settled.iter().cloned().collect(),
            fog.host.clock(now),
        );
        fog.host.start(machine);
        let (life, roster) = (fog.host.life, FogEvent::Roster(fog.devices.clone()));
        let wait = self.random.within(0, 200);
        self.event_after(wait, life, Event::Fog(region.clone(), roster));
        self.rejoin_fog(region, 0);
    }

    /// Says whether an effect was carried out.
    pub(crate) fn step_fog(&mut self, region: &RegionId) -> bool {
        let now = self.now;
        let fog = self.fog(region);
        let clock = fog.host.clock(now);
        if let Some(task) = fog.host.tasks.pop_front() {
            self.tell(|| format!("{region} {}", brief(&task)));
            self.fog_task(region, task);
            return true;
        }
        if let (Some(machine), Some(event)) = (&mut fog.host.machine, fog.host.inbox.pop_front()) {
            let effects = machine.handle(event, clock);
            fog.disk.epoch = machine.epoch();
            fog.host
                .tasks
                .extend(effects.into_iter().map(FogTask::Effect));
        }
        false
    }

    fn fog_task(&mut self, region: &RegionId, task: FogTask) {
        match task {
            FogTask::Effect(effect) => self.fog_effect(region, effect),
            FogTask::Tell(device, message) => self.tell_device(&device, message),
            FogTask::Feed(event) => self.event(Event::Fog(region.clone(), event)),
        }
    }

    fn fog_effect(&mut self, region: &RegionId, effect: FogEffect) {
        let life = self.fog(region).host.life;
        match effect {
            FogEffect::Fetch(plan) => {
                let wait = self.random.within(FETCH_MS.0, FETCH_MS.1);
                let event = FogEvent::ObjectsReady(plan.key, TENSORS.to_vec());
                self.event_after(wait, life, Event::Fog(region.clone(), event));
            }
            FogEffect::Broadcast(plan) => self.retain(region, life, Some(plan)),
            FogEffect::Persist(key) => {
                let fog = self.fog(region);
                let snapshot = fog.host.machine.as_ref().and_then(FogRound::snapshot);
                fog.disk.snapshot = snapshot.or(fog.disk.snapshot.take());
                let wait = self.random.within(FSYNC_MS.0, FSYNC_MS.1);
                let event = Event::Fog(region.clone(), FogEvent::Persisted(key));
                self.event_after(wait, life, event);
            }
            FogEffect::Receipt(key, admission) => self.receipt(&key, admission),
            FogEffect::Welcome(device, answers) => {
                self.tell_device(&device, ToDevice::Welcome(answers));
            }
            FogEffect::Close(partial) => self.store_partial(region, *partial),
            FogEffect::Publish(key) => {
                let snapshot = self.fog(region).disk.snapshot.as_ref();
                let partial = snapshot.map(|s| s.partial.clone()).filter(|p| p.key == key);
                if let Some(partial) = partial {
                    self.publish_partial(region, life, &partial);
                }
            }
            FogEffect::Settle(record) => self.settle(region, record),
            FogEffect::DeviceDone(..) | FogEffect::StalePlan(..) => {}
        }
    }

    fn receipt(&mut self, key: &ContributionKey, admission: Admission) {
        let region = self.devices[&key.device].region.clone();
        if admission == Admission::Admitted {
            let durable = self.fogs[&region].disk.holds(key);
            self.ensure(durable, || {
                format!("{region} admitted {key} before it was durable")
            });
        }
        self.tell_device(&key.device, ToDevice::Receipt(key.round.clone(), admission));
    }

    fn store_partial(&mut self, region: &RegionId, partial: PartialSum) {
        let digest = Digest::of(format!("{partial:?}").as_bytes());
        let key = partial.key.clone();
        let fog = self.fog(region);
        let admitted = fog.host.machine.as_ref().and_then(FogRound::snapshot);
        fog.disk.snapshot = Some(Restored {
            partial,
            admitted: admitted.map(|s| s.admitted).unwrap_or_default(),
            closed: Some(digest),
        });
        fog.host
            .tasks
            .push_front(FogTask::Feed(FogEvent::PartialStored(key, digest)));
    }

    fn settle(&mut self, region: &RegionId, record: SettledRecord) {
        let fog = self.fog(region);
        for (device, &outcome) in record.outcomes.iter().rev() {
            let message = ToDevice::Settled(record.key.clone(), outcome);
            fog.host
                .tasks
                .push_front(FogTask::Tell(device.clone(), message));
        }
        fog.disk.snapshot.take_if(|s| s.partial.key == record.key);
        fog.disk.settled.push_back(record);
    }

    pub(crate) fn publish_partial(&mut self, region: &RegionId, life: Life, partial: &PartialSum) {
        let now = self.now;
        let fog = self.fog(region);
        if !fog.host.lives(life) {
            return;
        }
        if fog.host.is_cut(now) {
            let again = Action::PublishPartial(region.clone(), life, Box::new(partial.clone()));
            return self.after(RETRY_MS, again);
        }
        let digest = Digest::of(format!("{partial:?}").as_bytes());
        let partial = partial.clone();
        let first = self.nats.publish_partial(StoredPartial { partial, digest });
        self.ensure(first, || {
            format!("{region} published two partials of one phase")
        });
        for root in 0..self.roots.len() {
            self.wake_puller(root);
        }
    }

    /// Reads the region's stream from its beginning once NATS is in reach again.
    pub(crate) fn rejoin_fog(&mut self, region: &RegionId, wait_ms: Millis) {
        let fog = self.fog(region);
        fog.cursor = 0;
        fog.pulling = true;
        let life = fog.host.life;
        self.after(wait_ms, Action::PullDown(region.clone(), life));
    }

    /// Something new is in the region's stream.
    pub(crate) fn publish_down(&mut self, region: &RegionId, message: DownMessage) {
        self.nats.publish_down(region, message);
        let fog = self.fog(region);
        if !fog.pulling {
            fog.pulling = true;
            let life = fog.host.life;
            let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
            self.after(wait, Action::PullDown(region.clone(), life));
        }
    }

    /// The next message of the region's stream, in order.
    pub(crate) fn pull_down(&mut self, region: &RegionId, life: Life) {
        let now = self.now;
        let fog = &self.fogs[region];
        if !fog.host.lives(life) || fog.host.is_cut(now) {
            return;
        }
        let next = self.nats.down_after(region, fog.cursor);
        let Some((sequence, message)) = next.map(|(at, message)| (at, message.clone())) else {
            self.fog(region).pulling = false;
            return;
        };
        self.fog(region).cursor = sequence;
        let event = match message {
            DownMessage::Plan(plan) => FogEvent::Plan(plan),
            DownMessage::Settled {
                key,
                outcome,
                accepted,
                absent,
            } => FogEvent::Settled {
                key,
                outcome,
                accepted,
                absent,
            },
            DownMessage::Ended => {
                self.retain(region, life, None);
                FogEvent::JobEnded(self.scenario.spec().job)
            }
        };
        self.event(Event::Fog(region.clone(), event));
        let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
        self.after(wait, Action::PullDown(region.clone(), life));
    }

    pub(crate) fn beat_fog(&mut self, region: &RegionId) {
        let now = self.now;
        let Some(machine) = &self.fogs[region].host.machine else {
            return;
        };
        let online = machine.online();
        if self.fogs[region].host.is_cut(now) {
            return;
        }
        for root in 0..self.roots.len() {
            let host = &self.roots[root].host;
            if host.is_up() && !host.is_cut(now) {
                let life = host.life;
                let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
                let event = Event::Root(root, RootEvent::Beat(region.clone(), online));
                self.event_after(wait, life, event);
            }
        }
    }
}

fn brief(task: &FogTask) -> String {
    match task {
        FogTask::Effect(FogEffect::Fetch(plan)) => format!("Fetch({})", plan.key),
        FogTask::Effect(FogEffect::Broadcast(plan)) => format!("Broadcast({})", plan.key),
        FogTask::Effect(FogEffect::Close(partial)) => {
            format!("Close({}, {:?})", partial.key, partial.contributors)
        }
        FogTask::Effect(effect) => format!("{effect:?}"),
        other => format!("{other:?}"),
    }
}
