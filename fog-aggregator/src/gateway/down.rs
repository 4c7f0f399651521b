//! What the root says.

use bytes::Bytes;
use fl_model::{DeviceId, JobId, MemberId, ROOT_NAME, RoundKey, RoundPlan};
use fl_round::FogEvent;
use fl_runtime::clock::wall_us;
use fl_telemetry::Interval;
use fl_wire::limits::CONTROL_BYTES_MAX;
use fl_wire::topics::Broadcast;
use fl_wire::{
    Body, Envelope, Expected, MessageKind, RoundSettled, WireError, contribution_bytes_max,
};

use super::{Cause, Current, Gateway, SEND_REST_MS};
use crate::disk::Job;
use crate::follow::Down;
use crate::roster::Roster;
use crate::telling::Facts;

impl Gateway {
    pub(super) async fn on_down(&mut self, down: Down) {
        let send_rest_ms = self.parts.clock.now_ms() + SEND_REST_MS;
        self.send_rest_ms.get_or_insert(send_rest_ms);
        match down {
            Down::Roster(list) => self.on_roster(&list).await,
            Down::Plan(job, bytes) if bytes.is_empty() => self.on_job_ended(job).await,
            Down::Plan(job, bytes) => self.on_plan(job, bytes).await,
            Down::Settled(key, bytes) => self.on_settled(key, &bytes).await,
        }
    }

    async fn on_roster(&mut self, list: &[u8]) {
        let me = &self.parts.me;
        let roster = match Roster::read(list, &me.root, &me.region) {
            Ok(roster) => roster,
            Err(error) => {
                tracing::error!("{error}; the roster before it stays in force");
                return;
            }
        };
        if roster.number() < self.roster.number() {
            tracing::warn!(
                "a roster older than number {} is not followed",
                self.roster.number()
            );
            return;
        }
        match roster.own_entry(&me.name, &me.key.verifying_key(), &me.region) {
            Ok(entry) => {
                let entry = Bytes::copy_from_slice(entry);
                if self.own_entry.as_ref() != Some(&entry) {
                    self.parts.mail.retain(Broadcast::Fog, entry.clone());
                }
                self.own_entry = Some(entry);
            }
            Err(why) => {
                tracing::error!("{why}; no plan is followed before");
                self.own_entry = None;
            }
        }
        if roster.number() > self.roster.number() {
            tracing::info!(
                "roster number {} has {} devices",
                roster.number(),
                roster.len()
            );
        }
        let devices = roster.devices();
        self.seen.retain(|device, _| devices.contains(device));
        self.roster = roster;
        self.step(FogEvent::Roster(devices), Cause::Other).await;
        self.admit_strangers().await;
        if self.own_entry.is_some() {
            for (topic, payload) in std::mem::take(&mut self.early) {
                self.take(&topic, payload).await;
            }
        }
        if self.own_entry.is_some()
            && let Some((plan, verbatim, received_us)) = self.held.take()
        {
            self.follow_plan(plan, verbatim, received_us).await;
        }
    }

    /// Devices that connected before the roster named them.
    async fn admit_strangers(&mut self) {
        let named: Vec<(DeviceId, bool)> =
            std::mem::take(&mut self.strangers).into_iter().collect();
        for (device, online) in named {
            if self.roster.device_key(&device).is_some() {
                self.step(FogEvent::Online(device, online), Cause::Other)
                    .await;
            } else {
                if online && self.own_entry.is_some() {
                    self.warn_of_stranger(&device);
                }
                self.strangers.insert(device, online);
            }
        }
    }

    async fn on_plan(&mut self, job: JobId, bytes: Bytes) {
        let received_us = wall_us();
        let expected = Expected::kind(MessageKind::Plan).in_job(&job);
        let plan = match self.open_from_root::<RoundPlan>(&bytes, expected) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(%job, "a plan of job {job} is not followed: {}", hint(&error));
                return;
            }
        };
        if let Err(error) = plan.check_overflow() {
            tracing::error!(key = %plan.key, "the plan {} is not followed: {error}", plan.key);
            return;
        }
        let plan = Box::new(plan);
        if self.own_entry.is_none() {
            tracing::info!(key = %plan.key, "the plan {} waits for the roster", plan.key);
            self.held = Some((plan, bytes, received_us));
            return;
        }
        self.follow_plan(plan, bytes, received_us).await;
    }

    async fn follow_plan(&mut self, plan: Box<RoundPlan>, verbatim: Bytes, received_us: u64) {
        let stale = plan.epoch < self.round.epoch() || self.round.is_settled(&plan.key);
        let known = self
            .current
            .as_ref()
            .is_some_and(|current| current.plan.key == plan.key);
        if !stale && !known {
            let before = self.current.take();
            self.let_go(before, received_us);
            self.current = Some(self.take_up(&plan, verbatim, received_us));
        }
        self.step(FogEvent::Plan(plan), Cause::Other).await;
    }

    fn take_up(&mut self, plan: &RoundPlan, verbatim: Bytes, received_us: u64) -> Current {
        let me = &self.parts.me;
        let fresh = || {
            Facts::of(
                plan,
                me.region.as_str(),
                me.name.as_str(),
                self.roster.len(),
                received_us,
            )
        };
        let resumed = self
            .resumed
            .as_ref()
            .filter(|resumed| resumed.key == plan.key);
        let (facts, arrived) = match resumed.map(|resumed| &resumed.notes) {
            Some(notes) => (
                notes.trace.clone().map(|trace| Facts::resumed(trace, None)),
                notes.arrived.clone(),
            ),
            None => (fresh(), Default::default()),
        };
        let arrived = arrived.into_iter();
        let arrived = arrived.filter_map(|(name, times)| Some((DeviceId::new(&name).ok()?, times)));
        self.uploads.clear();
        tracing::info!(key = %plan.key, "following {} of epoch {}", plan.key, plan.epoch);
        self.parts.metrics.round_current(plan.key.round.0);
        Current {
            contribution_bytes_max: contribution_bytes_max(plan),
            plan: plan.clone().into(),
            verbatim,
            facts: facts.filter(|_| Self::is_traced(&plan.key)),
            arrived: arrived.collect(),
            tasks: Vec::new(),
        }
    }

    async fn on_settled(&mut self, key: RoundKey, bytes: &[u8]) {
        let expected = Expected::kind(MessageKind::RoundSettled).in_round(&key);
        let settled = match self.open_from_root::<RoundSettled>(bytes, expected) {
            Ok(settled) if settled.key == key => settled,
            Ok(settled) => {
                tracing::error!(%key, "the record of {} came as that of {key}", settled.key);
                return;
            }
            Err(error) => {
                tracing::error!(%key, "the record of {key} is not believed: {}", hint(&error));
                return;
            }
        };
        let region = &self.parts.me.region;
        let accepted = settled.accepted.iter().find(|(of, _)| of == region);
        let absent = settled
            .absent
            .iter()
            .find(|absence| absence.region == *region);
        let is_accepted = accepted.is_some();
        let window = settled.windows.iter().find(|(of, _)| of == region);
        let window = window.map(|(_, (start_us, end_us))| Interval::new(*start_us, *end_us));
        let event = FogEvent::Settled {
            outcome: settled.outcome,
            accepted: accepted.map(|(_, digest)| *digest),
            absent: absent.map(|absence| absence.reason),
            key: key.clone(),
        };
        self.step(event, Cause::Other).await;
        self.over(&key, is_accepted);
        self.parts.teller.settled(&key, window);
        // Where nobody of this region is in it, nothing was settled and the sum is only in the way.
        self.parts.disk.push(Job::Forget(key)).await;
    }

    /// Nothing of the job is followed any more. What it has in the outbox and in the snapshot stays
    /// until the record of its last phase comes, which may be after this.
    async fn on_job_ended(&mut self, job: JobId) {
        self.parts
            .mail
            .retain(Broadcast::Plan(job.clone()), Bytes::new());
        let of_job = |key: &RoundKey| key.job == job;
        self.held.take_if(|(plan, _, _)| of_job(&plan.key));
        self.step(FogEvent::JobEnded(job.clone()), Cause::Other)
            .await;
        let current = self.current.take_if(|current| of_job(&current.plan.key));
        if current.is_some() {
            tracing::info!(%job, "job {job} is over");
            self.let_go(current, wall_us());
        }
    }

    /// The phase is over: what is left of it is told and dropped.
    fn over(&mut self, key: &RoundKey, accepted: bool) {
        self.parts.partials.stop(key, accepted);
        let now_us = wall_us();
        if let Some(current) = self.current.take_if(|current| current.plan.key == *key) {
            self.let_go(Some(current), now_us);
        }
        if let Some(resumed) = self.resumed.take_if(|resumed| resumed.key == *key) {
            let closed_us = resumed.notes.saved_us;
            if let Some(trace) = resumed.notes.trace {
                let facts = Facts::resumed(trace, resumed.closed.then_some(closed_us));
                self.tell_late(key.clone(), facts, closed_us);
            }
        }
    }

    /// What was followed is followed no more; its facts are told, as far as they go.
    fn let_go(&mut self, current: Option<Current>, now_us: u64) {
        let Some(mut current) = current else {
            return;
        };
        let key = current.plan.key.clone();
        if let Some(facts) = current.facts.take() {
            self.tell_late(key, facts, now_us);
        }
    }

    fn tell_late(&mut self, key: RoundKey, mut facts: Facts, closed_us: u64) {
        facts.give_up(closed_us);
        self.parts.teller.add(key, facts, self.parts.clock.now_ms());
    }

    fn open_from_root<B: Body>(&self, bytes: &[u8], expected: Expected) -> Result<B, WireError> {
        let verified = Envelope::parse(bytes, CONTROL_BYTES_MAX)?.verify(&self.parts.me.root)?;
        verified.check(&expected)?;
        if let Ok(root) = MemberId::new(ROOT_NAME) {
            verified.check(&Expected::sender(&root))?;
        }
        verified.open()
    }
}

/// The error, and what to do about it.
fn hint(error: &WireError) -> String {
    match error {
        WireError::BadSignature { .. } => format!(
            "{error}; compare root.public_key in the settings with what `cloud-root init` printed"
        ),
        other => other.to_string(),
    }
}
