//! MQTT at QoS 1 with clean sessions: what is lost takes the session with it, what arrives may arrive
//! twice and in any order.

use fl_model::{
    Admission, ContributionKey, DeviceId, JobId, Outcome, Reason, RegionId, RoundKey, RoundPlan,
};
use fl_round::{Answer, EdgeEvent, FogEvent};

use crate::device::StoredContribution;
use crate::host::Life;
use crate::scenario::Broker;
use crate::world::{Action, Event, World};

/// Of a message on its way, in milliseconds.
const DELAY_MS: (u64, u64) = (1, 25);
/// Until a second delivery of the same message.
const DUPLICATE_MS: (u64, u64) = (1, 1_500);
/// Until a lost connection is tried again.
const RECONNECT_MS: (u64, u64) = (50, 300);
/// Until the broker notices that a device is gone.
const WILL_MS: (u64, u64) = (1, 400);

/// From a device to its fog.
#[derive(Debug, Clone)]
pub(crate) enum UpMessage {
    Hello(Vec<RoundKey>),
    Beat,
    Contribution(Box<StoredContribution>),
    /// Bytes of a contribution that were damaged on their way.
    Corrupt(RoundKey),
    Declined(RoundKey, Reason),
}

/// From a fog to one of its devices.
#[derive(Debug, Clone)]
pub(crate) enum DownMessage {
    Plan(Box<RoundPlan>),
    Cleared(JobId),
    Receipt(RoundKey, Admission),
    Settled(RoundKey, Outcome),
    Welcome(Vec<(RoundKey, Answer)>),
}

impl World {
    fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        self.random.within(low, high)
    }

    fn loses(&mut self) -> bool {
        !self.healed && self.random.chance(self.scenario.network.loss_per_mille)
    }

    fn duplicates(&mut self) -> bool {
        !self.healed
            && self
                .random
                .chance(self.scenario.network.duplicate_per_mille)
    }

    /// Whether the region's broker runs.
    fn broker_is_up(&self, region: &RegionId) -> bool {
        self.scenario.broker == Broker::External || self.fogs[region].host.is_up()
    }

    /// Whether the fog has a session at its broker.
    fn fog_is_there(&self, region: &RegionId) -> bool {
        let fog = &self.fogs[region];
        let cut = self.scenario.broker == Broker::External && self.now < fog.broker_cut_until;
        fog.host.is_up() && !cut
    }

    pub(crate) fn connect(&mut self, device: &DeviceId, life: Life) {
        let now = self.now;
        let state = &self.devices[device];
        if !state.host.lives(life) || state.session.is_some() {
            return;
        }
        if state.host.is_cut(now) || !self.broker_is_up(&state.region) {
            let wait = self.within(RECONNECT_MS);
            self.after(wait, Action::Connect(device.clone(), life));
            return;
        }
        let state = self.device(device);
        state.sessions += 1;
        state.session = Some(state.sessions);
        let region = state.region.clone();
        self.event(Event::Device(device.clone(), EdgeEvent::Connected));
        self.presence(device, true);
        if let Some(plan) = self.fog(&region).retained.clone() {
            self.send_down(device, DownMessage::Plan(plan));
        }
    }

    /// The device and, a little later, its fog learn that the session is gone.
    pub(crate) fn drop_session(&mut self, device: &DeviceId) {
        let state = self.device(device);
        if state.session.take().is_none() {
            return;
        }
        let (life, up) = (state.host.life, state.host.is_up());
        self.presence(device, false);
        if up {
            self.event(Event::Device(device.clone(), EdgeEvent::Disconnected));
            let wait = self.within(RECONNECT_MS);
            self.after(wait, Action::Connect(device.clone(), life));
        }
    }

    fn presence(&mut self, device: &DeviceId, online: bool) {
        let region = self.devices[device].region.clone();
        if self.fog_is_there(&region) {
            let wait = self.within(if online { DELAY_MS } else { WILL_MS });
            let life = self.fogs[&region].host.life;
            let event = FogEvent::Online(device.clone(), online);
            self.event_after(wait, life, Event::Fog(region, event));
        }
    }

    /// A broker in the fog dies with it, and takes retained messages and sessions along.
    pub(crate) fn broker_died(&mut self, region: &RegionId) {
        if self.scenario.broker == Broker::External {
            return;
        }
        self.fog(region).retained = None;
        let devices = self.fogs[region].devices.clone();
        devices.iter().for_each(|device| self.drop_session(device));
    }

    pub(crate) fn send_up(&mut self, device: &DeviceId, message: UpMessage) {
        let Some(session) = self.devices[device].session else {
            return;
        };
        if self.loses() {
            return self.drop_session(device);
        }
        let wait = self.within(DELAY_MS);
        if self.duplicates() {
            let wait = self.within(DUPLICATE_MS);
            self.after(wait, Action::Up(device.clone(), session, message.clone()));
        }
        self.after(wait, Action::Up(device.clone(), session, message));
    }

    /// What a session carried may still arrive after it is gone, or not.
    pub(crate) fn arrive_up(&mut self, device: &DeviceId, session: u32, message: UpMessage) {
        let state = &self.devices[device];
        let region = state.region.clone();
        let lost = state.session != Some(session) && self.random.chance(500);
        if lost || !self.fog_is_there(&region) {
            return;
        }
        let device = device.clone();
        let key = |round| ContributionKey {
            round,
            device: device.clone(),
        };
        let event = match message {
            UpMessage::Hello(held) => FogEvent::Hello(device, held),
            UpMessage::Beat => FogEvent::Beat(device),
            UpMessage::Declined(round, reason) => FogEvent::Declined(key(round), reason),
            UpMessage::Corrupt(round) => FogEvent::Refused(key(round), Reason::BadDigest),
            UpMessage::Contribution(stored) => FogEvent::Contribution {
                contribution: Box::new(stored.contribution),
                digest: stored.digest,
                bytes: 1,
            },
        };
        self.event(Event::Fog(region, event));
    }

    /// A message to a device that is not connected is lost: the session is clean.
    pub(crate) fn send_down(&mut self, device: &DeviceId, message: DownMessage) {
        let Some(session) = self.devices[device].session else {
            return;
        };
        if self.loses() {
            return self.drop_session(device);
        }
        let wait = self.within(DELAY_MS);
        if self.duplicates() {
            let wait = self.within(DUPLICATE_MS);
            self.after(wait, Action::Down(device.clone(), session, message.clone()));
        }
        self.after(wait, Action::Down(device.clone(), session, message));
    }

    /// From the fog itself, which may have lost a broker that runs elsewhere.
    pub(crate) fn tell_device(&mut self, device: &DeviceId, message: DownMessage) {
        let region = self.devices[device].region.clone();
        if self.fog_is_there(&region) {
            self.send_down(device, message);
        }
    }

    pub(crate) fn arrive_down(&mut self, device: &DeviceId, session: u32, message: DownMessage) {
        if self.devices[device].session != Some(session) {
            return;
        }
        let event = match message {
            DownMessage::Plan(plan) => EdgeEvent::Plan(plan),
            DownMessage::Cleared(job) => EdgeEvent::PlanCleared(job),
            DownMessage::Receipt(key, admission) => EdgeEvent::Receipt(key, admission),
            DownMessage::Settled(key, outcome) => EdgeEvent::Settled(key, outcome),
            DownMessage::Welcome(answers) => EdgeEvent::Welcome(answers),
        };
        self.event(Event::Device(device.clone(), event));
    }

    /// Publishes or clears the retained plan, once the broker is in reach.
    pub(crate) fn retain(&mut self, region: &RegionId, life: Life, plan: Option<Box<RoundPlan>>) {
        if !self.fogs[region].host.lives(life) {
            return;
        }
        if !self.fog_is_there(region) {
            return self.after(50, Action::Retain(region.clone(), life, plan));
        }
        let message = match &plan {
            Some(plan) => DownMessage::Plan(plan.clone()),
            None => DownMessage::Cleared(self.scenario.spec().job),
        };
        let fog = self.fog(region);
        fog.retained = plan;
        for device in fog.devices.clone() {
            self.send_down(&device, message.clone());
        }
    }
}
