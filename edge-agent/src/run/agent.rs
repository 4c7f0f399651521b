//! Events in, effects carried out: what the loop of [`super::run`] owns.

mod incoming;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fl_model::{ContributionKey, Digest, Outcome, Reason, RoundKey, RoundPlan};
use fl_round::{EdgeEffect, EdgeEvent, EdgeRound, Millis};
use fl_runtime::clock::{Clock, wall_us};
use fl_runtime::mqtt::Event;
use fl_telemetry::{DevicePhase, attr};
use fl_wire::limits::{CHUNK_BYTES_MAX, DETAIL_BYTES_MAX, OUTSTANDING_MAX, VERSION_TEXT_BYTES_MAX};
use fl_wire::topics::Up;
use fl_wire::{Beat, Body, Decline, Hello, VerifyingKey, VersionRange, Want};
use tokio::sync::mpsc;

use super::door::Door;
use super::downloads::Downloads;
use super::identity::{About, Identity};
use super::traces::Traces;
use super::uplink::{Transfer, Uplink};
use super::worker::{Done, Task, Worker, epoch, lock};
use crate::ledger::{Ledger, LedgerError};
use crate::say;
use crate::settings::TimingSettings;
use crate::work::Failure;

/// A clock that is this far from the fog's is worth a line, in microseconds.
pub(crate) const CLOCK_OFFSET_SHOWN_US: i64 = 2_000_000;

/// What an agent is made of.
pub(super) struct Parts {
    pub(super) identity: Arc<Identity>,
    pub(super) root_key: VerifyingKey,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) uplink: Uplink,
    pub(super) downloads: Downloads,
    pub(super) worker: Arc<Worker>,
    pub(super) results: mpsc::Sender<Done>,
    pub(super) clock: Clock,
    pub(super) timing: TimingSettings,
    pub(super) runtime: String,
    /// What remembers the epoch, for whoever has to remove it.
    pub(super) state_file: PathBuf,
}

pub(super) struct Agent {
    parts: Parts,
    round: EdgeRound,
    door: Door,
    traces: Traces,
    /// The plan whose objects are awaited.
    fetching: Option<Box<RoundPlan>>,
    /// The phase that is being worked on, and how to stop it.
    working: Option<(RoundKey, Arc<AtomicBool>)>,
    /// The last failure: it is explained once, and said short when it comes again.
    declined: Option<(RoundKey, Failure)>,
    refused: Option<Digest>,
    beat_at: Millis,
    connected: bool,
}

impl Agent {
    pub(super) fn new(parts: Parts) -> Self {
        let ledger = lock(&parts.ledger);
        let round = EdgeRound::restore(
            ledger.epoch(),
            ledger.last().cloned(),
            ledger.outstanding(),
            parts.timing.resend_ms,
        );
        drop(ledger);
        let Identity { device, region, .. } = &*parts.identity;
        Self {
            door: Door::new(device, region, parts.root_key),
            round,
            traces: Traces::default(),
            fetching: None,
            working: None,
            declined: None,
            refused: None,
            beat_at: 0,
            connected: false,
            parts,
        }
    }

    /// When to call [`Agent::on_wake`].
    pub(super) fn next_wake(&self) -> Millis {
        let round = self.round.next_timeout().map(|timeout| timeout.at);
        let downloads = self.parts.downloads.next_wake().filter(|_| self.connected);
        let wakes = [round, downloads, Some(self.beat_at)];
        wakes.into_iter().flatten().min().unwrap_or(self.beat_at)
    }

    pub(super) fn on_wake(&mut self) -> Result<(), LedgerError> {
        let now = self.now();
        if now >= self.beat_at {
            self.beat_at = now + self.parts.timing.beat_ms;
            self.beat();
        }
        if self.connected {
            self.ask(now);
        }
        match self.round.next_timeout() {
            Some(timeout) if timeout.at <= now => self.feed(EdgeEvent::Timeout),
            _ => Ok(()),
        }
    }

    /// Takes what the broker session says.
    pub(super) fn on_session(&mut self, event: Event) -> Result<(), LedgerError> {
        match event {
            Event::Connected => {
                self.connected = true;
                let now = self.now();
                self.beat_at = now + self.parts.timing.beat_ms;
                self.feed(EdgeEvent::Connected)
            }
            Event::Disconnected { .. } => {
                self.connected = false;
                self.feed(EdgeEvent::Disconnected)
            }
            Event::Message(message) => self.on_message(&message),
        }
    }

    /// Takes what became of a task.
    pub(super) fn on_done(&mut self, done: Done) -> Result<(), LedgerError> {
        let key = match &done {
            Done::Stored(key) | Done::Failed(key, _) | Done::Cancelled(key) => key,
        };
        self.working.take_if(|(working, _)| working == key);
        match done {
            Done::Stored(key) => {
                self.declined = None;
                self.feed(EdgeEvent::Stored(key))
            }
            Done::Failed(key, failure) => {
                let reason = failure.reason;
                self.traces.drop(&key);
                self.explain(&key, failure);
                self.feed(EdgeEvent::Failed(key, reason))
            }
            Done::Cancelled(key) => {
                self.traces.drop(&key);
                Ok(())
            }
        }
    }

    /// Stops the work in progress.
    pub(super) fn cancel(&mut self) {
        if let Some((_, cancelled)) = &self.working {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Millis {
        self.parts.clock.now_ms()
    }

    /// Lets the state machine decide, and does what it says, in order.
    fn feed(&mut self, event: EdgeEvent) -> Result<(), LedgerError> {
        let now = self.now();
        for effect in self.round.handle(event, now) {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: EdgeEffect) -> Result<(), LedgerError> {
        match effect {
            EdgeEffect::Hello(outstanding) => {
                self.hello(outstanding);
                Ok(())
            }
            EdgeEffect::SaveEpoch(epoch) => on_disk(|| lock(&self.parts.ledger).save_epoch(epoch)),
            EdgeEffect::Fetch(plan) => self.fetch(plan),
            EdgeEffect::Work(plan) => {
                self.work(plan);
                Ok(())
            }
            EdgeEffect::Cancel(key) => {
                self.fetching.take_if(|plan| plan.key == key);
                if self
                    .working
                    .as_ref()
                    .is_some_and(|(working, _)| *working == key)
                {
                    self.cancel();
                }
                Ok(())
            }
            EdgeEffect::Send(key) => self.send(&key, None),
            EdgeEffect::Decline(key, reason) => {
                self.decline(&key, reason);
                Ok(())
            }
            EdgeEffect::Forget(key, outcome) => self.forget(&key, outcome),
            EdgeEffect::StalePlan(key, epoch) => {
                tracing::warn!(
                    "{}: its plan is not followed: it is of an older epoch than {epoch}, which this device has \
                     seen. A root that was replaced still runs: stop it. Or the root has lost what NATS stored: \
                     restore that; where it is gone for good, stop this agent and remove {}",
                    say::place(&key),
                    self.parts.state_file.display()
                );
                Ok(())
            }
        }
    }

    fn hello(&mut self, outstanding: Vec<RoundKey>) {
        let key = |round| ContributionKey {
            round,
            device: self.parts.identity.device.clone(),
        };
        let hello = Hello {
            versions: VersionRange::SPOKEN,
            agent: say::cut(env!("CARGO_PKG_VERSION"), VERSION_TEXT_BYTES_MAX),
            runtime: say::cut(&self.parts.runtime, VERSION_TEXT_BYTES_MAX),
            outstanding: outstanding
                .into_iter()
                .take(OUTSTANDING_MAX)
                .map(key)
                .collect(),
            epoch: epoch(&self.parts.ledger),
            wants: self.parts.downloads.missing(),
        };
        self.say(Up::Hello, &hello, None);
    }

    fn beat(&mut self) {
        if !self.connected {
            return;
        }
        let beat = Beat {
            sent_us: wall_us_signed(),
            working_on: self.round.working_on().cloned(),
            outstanding: u32::try_from(self.round.outstanding().len()).unwrap_or(u32::MAX),
            declining: self.declined.as_ref().map(|(_, failure)| failure.reason),
        };
        self.say(Up::Beat, &beat, None);
    }

    fn ask(&mut self, now: Millis) {
        let wants: Vec<Want> = self.parts.downloads.due(now);
        for want in wants {
            tracing::debug!("asking for object {}", want.digest.short());
            self.say(Up::Want, &want, None);
        }
    }

    fn fetch(&mut self, plan: Box<RoundPlan>) -> Result<(), LedgerError> {
        if let Some(trace) = self.traces.begin(&plan.key) {
            lock(&trace).begin(DevicePhase::Download);
        }
        let now = self.now();
        self.parts.downloads.want(&plan, now);
        self.fetching = Some(plan);
        self.start_when_ready()
    }

    fn start_when_ready(&mut self) -> Result<(), LedgerError> {
        let ready = self.parts.downloads.is_ready();
        let Some(plan) = self.fetching.take_if(|_| ready) else {
            return Ok(());
        };
        if let Some(trace) = self.traces.get(&plan.key) {
            let (bytes, chunks) = self.parts.downloads.arrived();
            let mut trace = lock(&trace);
            trace.attr(attr::BYTES, bytes);
            trace.attr(attr::CHUNKS, chunks);
            trace.end();
        }
        self.feed(EdgeEvent::ObjectsReady(plan.key))
    }

    fn work(&mut self, plan: Box<RoundPlan>) {
        let Some(objects) = self.parts.downloads.objects(&plan) else {
            return;
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        self.working = Some((plan.key.clone(), cancelled.clone()));
        let task = Task {
            trace: self.traces.get(&plan.key),
            plan,
            objects,
            cancelled,
        };
        let (worker, results) = (self.parts.worker.clone(), self.parts.results.clone());
        let key = task.plan.key.clone();
        let making = tokio::task::spawn_blocking(move || worker.perform(&task));
        tokio::spawn(async move {
            let done = making.await.unwrap_or_else(|broken| {
                let told = "a fault of the agent, which its log explains".to_owned();
                let detail = format!("a fault of this program, please report it: {broken}");
                let failure = Failure::in_private(Reason::ModelUnusable, detail, told);
                Done::Failed(key, failure)
            });
            // Nobody listens when the process ends: what was stored is found at the next start.
            let _ = results.send(done).await;
        });
    }

    fn send(&mut self, key: &RoundKey, want: Option<Want>) -> Result<(), LedgerError> {
        let ledger = self.parts.ledger.clone();
        let Some(sealed) = on_disk(|| lock(&ledger).sealed(key))? else {
            return Ok(());
        };
        let chunks = sealed.len().div_ceil(CHUNK_BYTES_MAX);
        self.traces.sending(key, sealed.len(), chunks);
        self.parts.uplink.transfer(Transfer {
            key: key.clone(),
            sealed,
            want,
        });
        Ok(())
    }

    /// Explains a failure once; the same one in the next phase gets a short line.
    fn explain(&mut self, key: &RoundKey, failure: Failure) {
        let known = self
            .declined
            .as_ref()
            .is_some_and(|(_, before)| *before == failure);
        match known {
            true => tracing::warn!("{}: declined again: {}", say::place(key), failure.reason),
            false => tracing::warn!(
                "{}: declined: {}: {failure}",
                say::place(key),
                failure.reason
            ),
        }
        self.declined = Some((key.clone(), failure));
    }

    fn decline(&mut self, key: &RoundKey, reason: Reason) {
        let explained = self.declined.as_ref().filter(|(of, _)| of == key);
        let detail = explained.map_or_else(String::new, |(_, failure)| failure.told.clone());
        let decline = Decline {
            key: key.clone(),
            reason,
            detail: say::cut(&detail, DETAIL_BYTES_MAX),
        };
        self.say(Up::Decline, &decline, Some(key));
    }

    fn forget(&mut self, key: &RoundKey, outcome: Outcome) -> Result<(), LedgerError> {
        match outcome {
            Outcome::Counted => tracing::info!("{}: counted", say::place(key)),
            Outcome::Excluded(reason) => {
                tracing::warn!("{}: not counted: {reason}", say::place(key));
            }
        }
        self.traces.drop(key);
        let last = self.round.last().cloned();
        on_disk(|| lock(&self.parts.ledger).forget(key, outcome, last.as_ref()))?;
        let key = key.clone();
        self.on_bench(move |worker| worker.over(&key));
        Ok(())
    }

    /// Has the worker do what waits for its task and for many files, away from the loop that gives signs of life.
    fn on_bench(&self, work: impl FnOnce(&Worker) + Send + 'static) {
        let worker = self.parts.worker.clone();
        tokio::task::spawn_blocking(move || work(&worker));
    }

    /// Signs a control message and sends it, best effort.
    fn say<B: Body>(&self, up: Up, body: &B, round: Option<&RoundKey>) {
        let about = About {
            round,
            epoch: epoch(&self.parts.ledger),
            trace: None,
        };
        match self.parts.identity.seal(body, &about) {
            Ok(bytes) => self.parts.uplink.control(up, bytes),
            Err(error) => tracing::error!("{up:?} cannot be signed: {error}"),
        }
    }
}

/// Waits for the disk without holding up the other tasks of this thread.
fn on_disk<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn wall_us_signed() -> i64 {
    i64::try_from(wall_us()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
