//! What the state machine asks for.

use fl_model::{Admission, ContributionKey, Outcome, PartialSum, Reason, RoundKey, RoundPlan};
use fl_round::{Answer, FogEffect, FogEvent, SettledRecord};
use fl_runtime::clock::wall_us;
use fl_telemetry::metrics::Link;
use fl_telemetry::region::Transfer;
use fl_wire::topics::Down;
use fl_wire::{Receipt, SettledNotice, Welcome};

use super::{Cause, Done, Gateway};
use crate::disk::{Job, partial_header};
use crate::partials::Published;
use crate::snapshot::Notes;
use crate::telling::{Facts, restart};

impl Gateway {
    pub(super) async fn carry_out(&mut self, effect: FogEffect, cause: &Cause) {
        match effect {
            FogEffect::Fetch(plan) => self.fetch(*plan),
            FogEffect::Broadcast(plan) => self.broadcast(*plan),
            FogEffect::Persist(key) => self.persist(&key).await,
            FogEffect::Receipt(key, admission) => self.receipt(&key, admission, cause),
            FogEffect::Welcome(device, answers) => {
                let seen = self.seen.get(&device);
                let answers = answers.into_iter().map(|(round, answer)| {
                    let device = device.clone();
                    (ContributionKey { round, device }, wire_answer(answer))
                });
                let welcome = Welcome {
                    fog_time_us: i64::try_from(wall_us()).unwrap_or(i64::MAX),
                    version: seen.map_or(fl_wire::PROTOCOL, |seen| seen.protocol),
                    answers: answers.collect(),
                };
                let epoch = self.round.epoch();
                self.parts
                    .mail
                    .tell(&device, Down::Welcome, &welcome, |header| {
                        header.under(epoch)
                    });
            }
            FogEffect::DeviceDone(key, done) => self.device_done(&key, done, cause),
            FogEffect::Close(partial) => self.close(*partial).await,
            FogEffect::Publish(key) => self.parts.partials.start(key),
            FogEffect::Settle(record) => self.parts.disk.push(Job::Settle(record)).await,
            FogEffect::StalePlan(key, epoch) => tracing::warn!(
                %key,
                "the plan {key} is not followed: it is of an older epoch than {epoch}, which is known here. A root \
                 that was replaced still runs: stop it. Or the root has lost what NATS stored: restore that; where \
                 it is gone for good, stop this gateway and remove {}",
                self.parts.stores.state_file().display()
            ),
        }
    }

    fn fetch(&mut self, plan: RoundPlan) {
        let (fetcher, done) = (self.parts.fetcher.clone(), self.parts.done.clone());
        self.spawn(async move {
            let fetched = fetcher.fetch(&plan).await;
            let _ = done.send(Done::Fetched(plan.key, fetched)).await;
        });
    }

    fn broadcast(&mut self, plan: RoundPlan) {
        let now_us = wall_us();
        let resumed = self.resumed.take_if(|resumed| resumed.key == plan.key);
        let Some(current) = self.current.as_mut() else {
            return;
        };
        if let Some(facts) = current.facts.as_mut() {
            for (device, awaited) in self.round.devices() {
                if awaited {
                    facts.trace.selected(device.as_str(), now_us);
                } else {
                    facts
                        .trace
                        .absent(device.as_str(), now_us, Reason::Disconnected.as_str());
                }
            }
            if let Some(resumed) = resumed {
                let (saved_us, loaded_us) = (resumed.notes.saved_us, resumed.loaded_us);
                facts
                    .trace
                    .restarted(restart(saved_us, loaded_us, now_us, resumed.recovered));
            }
        }
        let verbatim = current.verbatim.clone();
        let (broadcaster, done) = (self.parts.broadcaster.clone(), self.parts.done.clone());
        self.spawn(async move {
            let transfer = match broadcaster.plan(&plan, &verbatim).await {
                Ok(transfer) => transfer,
                Err(error) => {
                    tracing::error!(key = %plan.key, "{} does not reach its devices: {error}", plan.key);
                    return;
                }
            };
            let _ = done.send(Done::Broadcast(plan.key, transfer)).await;
        });
    }

    pub(super) async fn on_broadcast(&mut self, key: RoundKey, transfer: Transfer) {
        if let Some(facts) = self.facts_of(&key) {
            facts.trace.broadcast(transfer);
        }
        // The broker hands every device its own copy.
        let copies = u64::from(self.round.online());
        self.sent_down(key, transfer.bytes.saturating_mul(copies))
            .await;
    }

    pub(super) async fn sent_down(&mut self, key: RoundKey, bytes: u64) {
        self.parts.metrics.moved(Link::EdgeDown, bytes);
        self.step(FogEvent::SentDown(key, bytes), Cause::Other)
            .await;
    }

    async fn persist(&mut self, key: &RoundKey) {
        let Some(restored) = self.round.snapshot().filter(|r| r.partial.key == *key) else {
            return;
        };
        let notes = Box::new(self.notes(key));
        self.parts
            .disk
            .push(Job::Snapshot(Box::new(restored), notes))
            .await;
    }

    fn notes(&self, key: &RoundKey) -> Notes {
        let current = self
            .current
            .as_ref()
            .filter(|current| current.plan.key == *key);
        let Some(current) = current else {
            return Notes::default();
        };
        let arrived = current.arrived.iter();
        Notes {
            saved_us: wall_us(),
            trace: current.facts.as_ref().map(|facts| facts.trace.clone()),
            arrived: arrived
                .map(|(device, times)| (device.to_string(), *times))
                .collect(),
        }
    }

    fn receipt(&mut self, key: &ContributionKey, admission: Admission, cause: &Cause) {
        let asked = match cause {
            Cause::Contribution {
                device,
                received_us,
                digest,
            } if *device == key.device => {
                if let Admission::Rejected(reason) = admission {
                    self.note_rejection(key, reason, *received_us);
                }
                Some(*digest)
            }
            _ => None,
        };
        // A device that sent damaged bytes is told of the good ones, where those are in the sum.
        let digest = match admission {
            Admission::Admitted => self.round.admitted(key).or(asked),
            Admission::Rejected(_) => asked,
        };
        let Some(digest) = digest else {
            return;
        };
        let receipt = Receipt {
            key: key.clone(),
            digest,
            admission,
        };
        let epoch = self.round.epoch();
        self.parts
            .mail
            .tell(&key.device, Down::Receipt, &receipt, |header| {
                header.in_round(&key.round).under(epoch)
            });
    }

    fn note_rejection(&mut self, key: &ContributionKey, reason: Reason, received_us: u64) {
        let outcome = if reason == Reason::Duplicate {
            "duplicate"
        } else {
            "rejected"
        };
        self.parts.metrics.contribution(outcome, reason.as_str());
        self.lines.warn(self.parts.clock.now_ms(), || {
            format!("the contribution {key} is rejected: {reason}")
        });
        let now_us = wall_us();
        let Some(current) = self.current.as_mut() else {
            return;
        };
        let own = current.plan.key == key.round;
        if own {
            current.arrived.remove(&key.device);
        }
        let Some(facts) = current.facts.as_mut() else {
            return;
        };
        if own && self.roster.device_key(&key.device).is_some() {
            facts
                .trace
                .rejected(key.device.as_str(), received_us, now_us, reason.as_str());
        } else {
            facts.trace.stranger_rejected(received_us, reason.as_str());
        }
    }

    fn device_done(&mut self, key: &ContributionKey, done: Result<(), Reason>, cause: &Cause) {
        let now_us = wall_us();
        let lost_us = self.seen.get(&key.device).and_then(|seen| seen.lost_us);
        let Some(current) = self.current.as_mut().filter(|c| c.plan.key == key.round) else {
            return;
        };
        let device = &key.device;
        match done {
            Ok(()) => {
                let arrived = current.arrived.remove(device);
                let (received_us, bytes) = arrived.unwrap_or((now_us, 0));
                if arrived.is_some() {
                    let took = now_us.saturating_sub(received_us);
                    self.parts
                        .metrics
                        .admitted(std::time::Duration::from_micros(took));
                    self.parts.metrics.contribution("accepted", "");
                }
                tracing::debug!(%device, "admitted {key}");
                if let Some(facts) = current.facts.as_mut() {
                    facts.accepted(device, received_us, now_us, bytes);
                }
            }
            Err(reason) => {
                let Some(facts) = current.facts.as_mut() else {
                    return;
                };
                match cause {
                    Cause::Declined(of) if of == device => {
                        facts
                            .trace
                            .declined(device.as_str(), now_us, reason.as_str())
                    }
                    // Said with the receipt.
                    Cause::Contribution { device: of, .. } if of == device => {}
                    _ => facts.dropped(device, lost_us.unwrap_or(now_us), reason.as_str()),
                }
            }
        }
    }

    async fn close(&mut self, partial: PartialSum) {
        let key = partial.key.clone();
        let now_us = wall_us();
        tracing::info!(
            %key,
            "closing {key} with {} contributions, {} absent",
            partial.contributors.len(),
            partial.absent.len()
        );
        if let Some(facts) = self.facts_of(&key) {
            facts.closing(now_us);
        }
        let me = &self.parts.me;
        let mut header = partial_header(&partial, &me.name, &me.region);
        header.trace = self.current.as_ref().map(|current| current.plan.trace);
        let Some(restored) = self.round.snapshot().filter(|r| r.partial.key == key) else {
            return;
        };
        let notes = Box::new(self.notes(&key));
        let job = Job::Partial(Box::new(restored), notes, Box::new(header));
        self.parts.disk.push(job).await;
    }

    pub(super) fn on_published(&mut self, key: RoundKey, published: Published) {
        let (now_ms, now_us) = (self.parts.clock.now_ms(), wall_us());
        tracing::info!(%key, "the partial of {key} is with the root");
        let resumed = self
            .resumed
            .take_if(|resumed| resumed.key == key && resumed.closed);
        let facts = match self
            .current
            .as_mut()
            .filter(|current| current.plan.key == key)
        {
            Some(current) => current.facts.take(),
            None => None,
        };
        let restored = resumed
            .as_ref()
            .and_then(|resumed| resumed.notes.trace.clone());
        let Some(mut facts) =
            facts.or_else(|| restored.map(|trace| Facts::resumed(trace, Some(now_us))))
        else {
            // The root was faster with its record than the acknowledgement.
            self.parts.teller.published(&key, published.transfer);
            return;
        };
        if let Some(transfer) = published.transfer {
            if let Some(resumed) = &resumed {
                let (saved_us, loaded_us) = (resumed.notes.saved_us, resumed.loaded_us);
                let listening_us = loaded_us.max(transfer.start_us);
                facts.trace.restarted(restart(
                    saved_us,
                    loaded_us,
                    listening_us,
                    resumed.recovered,
                ));
            }
            facts.trace.published(transfer);
        }
        self.parts.teller.add(key, facts, now_ms);
    }

    pub(super) fn tell_settled(&mut self, record: &SettledRecord) {
        let counted = record
            .outcomes
            .values()
            .filter(|o| **o == Outcome::Counted)
            .count();
        let key = &record.key;
        tracing::info!(%key, "{key} is settled: {counted} counted, {} excluded", record.outcomes.len() - counted);
        let epoch = self.round.epoch();
        for (device, outcome) in &record.outcomes {
            match outcome {
                Outcome::Counted => self.parts.metrics.contribution("counted", ""),
                Outcome::Excluded(reason) => {
                    self.parts.metrics.contribution("excluded", reason.as_str());
                }
            }
            let notice = SettledNotice {
                key: ContributionKey {
                    round: key.clone(),
                    device: device.clone(),
                },
                outcome: *outcome,
            };
            self.parts
                .mail
                .tell(device, Down::Settled, &notice, |header| {
                    header.in_round(key).under(epoch)
                });
        }
    }

    /// A task of the current plan: it ends with it.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(current) = self.current.as_mut() {
            current.tasks.push(tokio::spawn(task).abort_handle());
        }
    }
}

fn wire_answer(answer: Answer) -> fl_wire::Answer {
    match answer {
        Answer::Admitted => fl_wire::Answer::Admitted,
        Answer::Rejected(reason) => fl_wire::Answer::Rejected(reason),
        Answer::Settled(outcome) => fl_wire::Answer::Settled(outcome),
        Answer::SendAgain => fl_wire::Answer::SendAgain,
        Answer::Unknown => fl_wire::Answer::Unknown,
    }
}
