//! Which devices of the region are worth waiting for.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::DeviceId;

use crate::time::{Millis, Timeout};

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Not heard since the fog started.
    #[default]
    Unknown,
    /// Connected; heard last at that time.
    Online(Millis),
    /// Its connection was lost.
    Offline,
}

/// The roster's devices, and which of them are alive.
#[derive(Debug)]
pub(super) struct Presence {
    /// Whether the roster was heard at all.
    known: bool,
    devices: BTreeMap<DeviceId, State>,
    silence_ms: Millis,
    grace_until: Millis,
}

impl Presence {
    /// Devices that were never heard are waited for until `grace_until`.
    pub(super) fn new(silence_ms: Millis, grace_until: Millis) -> Self {
        Self {
            known: false,
            devices: BTreeMap::new(),
            silence_ms,
            grace_until,
        }
    }

    pub(super) fn set_roster(&mut self, roster: BTreeSet<DeviceId>) {
        self.known = true;
        let state = |device: &DeviceId| self.devices.get(device).copied().unwrap_or_default();
        self.devices = roster
            .iter()
            .map(|device| (device.clone(), state(device)))
            .collect();
    }

    /// Whether the roster was heard: before that, nobody can be told from a stranger.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    pub(super) fn contains(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.keys()
    }

    pub(super) fn set_online(&mut self, device: &DeviceId, online: bool, now: Millis) {
        if let Some(state) = self.devices.get_mut(device) {
            *state = if online {
                State::Online(now)
            } else {
                State::Offline
            };
        }
    }

    /// A sign of life; a device that was heard is connected.
    pub(super) fn heard(&mut self, device: &DeviceId, now: Millis) {
        self.set_online(device, true, now);
    }

    /// Takes those out that were silent for too long, so that no timeout comes twice.
    pub(super) fn expire(&mut self, now: Millis) {
        for state in self.devices.values_mut() {
            let dead = match *state {
                State::Online(heard) => now >= heard + self.silence_ms,
                State::Unknown => now >= self.grace_until,
                State::Offline => false,
            };
            if dead {
                *state = State::Offline;
            }
        }
    }

    pub(super) fn online(&self) -> u32 {
        let online = |state: &&State| matches!(state, State::Online(_));
        self.devices.values().filter(online).count() as u32
    }

    pub(super) fn is_online(&self, device: &DeviceId) -> bool {
        matches!(self.devices.get(device), Some(State::Online(_)))
    }

    /// Whether a device may still answer; as of the last [`Presence::expire`].
    pub(super) fn is_awaited(&self, device: &DeviceId) -> bool {
        let state = self.devices.get(device);
        matches!(state, Some(State::Online(_) | State::Unknown))
    }

    pub(super) fn awaited(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices().filter(|device| self.is_awaited(device))
    }

    /// When the next device stops being waited for.
    pub(super) fn next_change(&self) -> Option<Timeout> {
        let change = |state: &State| match state {
            State::Online(heard) => Some(Timeout {
                at: heard + self.silence_ms,
                why: "a device's silence",
            }),
            State::Unknown => Some(Timeout {
                at: self.grace_until,
                why: "the grace after a start",
            }),
            State::Offline => None,
        };
        self.devices.values().filter_map(change).min()
    }
}
