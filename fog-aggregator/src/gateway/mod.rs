//! The shell around [`FogRound`]: one task that hears everything, and carries out what it is told.
//!
//! ```text
//!  MQTT ─► door ─► event ─┐                        ┌─► disk ─► written ─┐
//!  NATS ─► signature ─────┼─► FogRound ─► effects ─┼─► fetch, broadcast ┼─► event …
//!  clock ─────────────────┘                        └─► mail, partials   ┘
//! ```

mod arrivals;
mod down;
mod effects;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fl_model::{DeviceId, Digest, RoundKey, RoundPlan};
use fl_round::{FogEvent, FogRound};
use fl_runtime::clock::{Clock, wall_us};
use fl_runtime::mqtt;
use fl_runtime::nats::Nats;
use fl_runtime::shutdown::Shutdown;
use fl_telemetry::Metrics;
use fl_telemetry::region::Transfer;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::broadcast::Broadcaster;
use crate::disk::{DiskQueue, Remembered, Stores, Written};
use crate::fetch::{Fetched, Fetcher};
use crate::follow::Down;
use crate::mail::{Mail, Me};
use crate::partials::{PartialSender, Published};
use crate::roster::Roster;
use crate::snapshot::Notes;
use crate::status::Status;
use crate::telling::{Facts, KeptTrace, Teller};
use crate::uploads::Uploads;

/// How often what is due is looked at.
const TICK: Duration = Duration::from_millis(250);

/// After the root's first message, how long its others are waited for before partials from before the
/// start are sent: it may have settled their phases, and purged what they belonged to [ms].
const SEND_REST_MS: u64 = 3_000;

/// Devices outside of the roster that are remembered, and hellos before it.
const STRANGERS_MAX: usize = 1_024;

/// What the gateway hears beside the broker.
pub struct Inputs {
    /// The MQTT session.
    pub mqtt: mqtt::Events,
    /// From the root.
    pub down: mpsc::Receiver<Down>,
    /// From the disk.
    pub written: mpsc::Receiver<Written>,
    /// From the gateway's own tasks.
    pub done: mpsc::Receiver<Done>,
}

/// What a task of the gateway has done.
#[derive(Debug)]
pub enum Done {
    /// The plan's objects are in the cache.
    Fetched(RoundKey, Fetched),
    /// Plan and objects are with the broker.
    Broadcast(RoundKey, Transfer),
    /// A device has what it asked for; that many bytes.
    Answered(DeviceId, Digest, u64),
    /// The partial is in the stream.
    Published(RoundKey, Published),
}

/// What the gateway uses.
pub struct Parts {
    /// Who it is.
    pub me: Arc<Me>,
    /// Its clock.
    pub clock: Clock,
    /// Its session with the broker.
    pub session: mqtt::Session,
    /// Its session with NATS.
    pub nats: Nats,
    /// Its latest sign of life, signed; empty at first.
    pub beats: watch::Sender<Bytes>,
    /// Its disk.
    pub disk: DiskQueue,
    /// The stores on it.
    pub stores: Arc<Stores>,
    /// To the devices.
    pub mail: Mail,
    /// To all devices.
    pub broadcaster: Broadcaster,
    /// From the object store.
    pub fetcher: Fetcher,
    /// To the root.
    pub partials: PartialSender,
    /// Spans.
    pub teller: Teller,
    /// Figures.
    pub metrics: Metrics,
    /// For the control endpoint.
    pub status: watch::Sender<Status>,
    /// Where tasks report.
    pub done: mpsc::Sender<Done>,
}

/// A device as the gateway has heard it.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// On the gateway's clock [ms].
    last_ms: Option<u64>,
    /// When its connection was lost [µs since 1970].
    lost_us: Option<u64>,
    /// Version of its agent.
    agent: String,
    /// Version of the protocol that it is spoken to in.
    protocol: u32,
}

/// The plan that is followed, and what the state machine does not need to know of it.
struct Current {
    plan: Arc<RoundPlan>,
    /// As the root signed it.
    verbatim: Bytes,
    facts: Option<Facts>,
    /// Contributions whose receipt is not out: when they came [µs since 1970], and their bytes.
    arrived: BTreeMap<DeviceId, (u64, u64)>,
    contribution_bytes_max: usize,
    tasks: Vec<AbortHandle>,
}

impl Drop for Current {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The phase of the snapshot, until its plan or its record comes.
struct Resumed {
    key: RoundKey,
    notes: Notes,
    recovered: usize,
    loaded_us: u64,
    /// Whether its partial was stored.
    closed: bool,
}

/// Why the state machine is asked, where it is for a device: for what the effects on that device mean.
#[derive(Debug, Clone)]
enum Cause {
    /// A contribution of the device, which came then [µs since 1970] with that digest.
    Contribution {
        device: DeviceId,
        received_us: u64,
        digest: Digest,
    },
    /// The device says no.
    Declined(DeviceId),
    /// All else.
    Other,
}

/// The gateway's state between two inputs.
pub struct Gateway {
    parts: Parts,
    round: FogRound,
    roster: Roster,
    /// This fog's own entry, as the root signed it; no plan is followed without.
    own_entry: Option<Bytes>,
    /// A plan that came before the roster.
    held: Option<(Box<RoundPlan>, Bytes, u64)>,
    current: Option<Current>,
    resumed: Option<Resumed>,
    seen: BTreeMap<DeviceId, Seen>,
    /// Devices that connected and that the roster does not name (yet).
    strangers: BTreeMap<DeviceId, bool>,
    /// Hellos that came before the roster, by topic.
    early: BTreeMap<String, Bytes>,
    uploads: Uploads,
    /// Objects that devices are being sent.
    answering: BTreeSet<(DeviceId, Digest)>,
    next_beat_ms: u64,
    /// When partials from before the start are sent whose phase the root has not spoken of.
    send_rest_ms: Option<u64>,
    lines: report::Lines,
    started_ms: u64,
}

impl Gateway {
    /// A gateway as its disk remembers it.
    pub fn new(mut parts: Parts, round: FogRound, remembered: Remembered) -> Self {
        let now_ms = parts.clock.now_ms();
        let loaded_us = wall_us();
        let resumed = remembered.open.map(|(restored, notes)| Resumed {
            key: restored.partial.key.clone(),
            notes,
            recovered: restored.admitted.len(),
            loaded_us,
            closed: restored.closed.is_some(),
        });
        for KeptTrace { trace, told } in remembered.traces {
            let key = report::key_of(&trace);
            let open = resumed.as_ref().map(|resumed| &resumed.key);
            let Some(key) = key.filter(|key| Some(key) != open) else {
                continue;
            };
            match told {
                Some(told) => parts.teller.tell_again(key, trace, told, now_ms),
                None => {
                    let facts = Facts::resumed(trace, Some(loaded_us));
                    parts.teller.add(key, facts, now_ms);
                }
            }
        }
        Self {
            parts,
            round,
            roster: Roster::default(),
            own_entry: None,
            held: None,
            current: None,
            resumed,
            seen: BTreeMap::new(),
            strangers: BTreeMap::new(),
            early: BTreeMap::new(),
            uploads: Uploads::default(),
            answering: BTreeSet::new(),
            next_beat_ms: now_ms,
            send_rest_ms: None,
            lines: report::Lines::default(),
            started_ms: now_ms,
        }
    }

    /// Runs until `shutdown`; everything that matters is on disk at any time.
    pub async fn run(mut self, inputs: &mut Inputs, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let clock = self.parts.clock;
        loop {
            let due = self.round.next_timeout().map(|timeout| timeout.at);
            tokio::select! {
                () = shutdown.requested() => break,
                event = inputs.mqtt.next() => match event {
                    Some(event) => self.on_mqtt(event).await,
                    None => break,
                },
                Some(down) = inputs.down.recv() => self.on_down(down).await,
                Some(written) = inputs.written.recv() => self.on_written(written).await,
                Some(done) = inputs.done.recv() => self.on_done(done).await,
                () = clock.sleep_until_ms(due.unwrap_or_default()), if due.is_some() => {
                    self.step(FogEvent::Timeout, Cause::Other).await;
                }
                _ = tick.tick() => self.on_tick().await,
            }
        }
        self.keep_what_is_told(u64::MAX).await;
        self.parts.teller.flush();
    }

    /// Tells the state machine, and carries out what it says.
    async fn step(&mut self, event: FogEvent, cause: Cause) {
        let before = self.round.epoch();
        let now = self.parts.clock.now_ms();
        let effects = self.round.handle(event, now);
        if self.round.epoch() > before {
            self.parts
                .disk
                .push(crate::disk::Job::Epoch(self.round.epoch()))
                .await;
        }
        for effect in effects {
            self.carry_out(effect, &cause).await;
        }
    }

    async fn on_written(&mut self, written: Written) {
        match written {
            Written::Snapshot(key, took) => {
                self.parts.metrics.saved(took);
                self.step(FogEvent::Persisted(key), Cause::Other).await;
            }
            Written::Partial(key, digest, bytes) => {
                let now_us = wall_us();
                if let Some(facts) = self.facts_of(&key) {
                    facts.closed(now_us);
                }
                tracing::info!(%key, bytes, "closed {key}: its partial {} is stored", digest.short());
                self.step(FogEvent::PartialStored(key, digest), Cause::Other)
                    .await;
            }
            Written::Settled(record) => self.tell_settled(&record),
        }
    }

    async fn on_done(&mut self, done: Done) {
        match done {
            Done::Fetched(key, fetched) => {
                if let (Some(transfer), Some(facts)) = (fetched.transfer, self.facts_of(&key)) {
                    facts.trace.fetched_model(transfer);
                }
                self.step(FogEvent::ObjectsReady(key, fetched.tensors), Cause::Other)
                    .await;
            }
            Done::Broadcast(key, transfer) => self.on_broadcast(key, transfer).await,
            Done::Answered(device, digest, bytes) => {
                self.answering.remove(&(device, digest));
                if let Some(key) = self
                    .current
                    .as_ref()
                    .map(|current| current.plan.key.clone())
                {
                    self.sent_down(key, bytes).await;
                }
            }
            Done::Published(key, published) => self.on_published(key, published),
        }
    }

    fn facts_of(&mut self, key: &RoundKey) -> Option<&mut Facts> {
        let current = self
            .current
            .as_mut()
            .filter(|current| current.plan.key == *key)?;
        current.facts.as_mut()
    }
}
