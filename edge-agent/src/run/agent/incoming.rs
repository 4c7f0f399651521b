//! What comes in over the broker, as events of the state machine.

use fl_model::{Admission, Digest, Reason};
use fl_round::{EdgeEvent, Millis};
use fl_runtime::mqtt::Message;
use fl_wire::topics::Up;
use fl_wire::{Receipt, VersionRange, Welcome};

use super::{Agent, CLOCK_OFFSET_SHOWN_US, wall_us_signed};
use crate::ledger::LedgerError;
use crate::run::door::Incoming;
use crate::run::worker::lock;
use crate::say;

impl Agent {
    pub(super) fn on_message(&mut self, message: &Message) -> Result<(), LedgerError> {
        let now = self.now();
        match self.door.read(&message.topic, &message.payload) {
            Ok(incoming) => self.on_incoming(incoming, message, now),
            Err(refusal) => {
                let digest = Digest::of(&message.payload);
                // What the broker repeats at every connect is told once.
                let again = self.refused.replace(digest) == Some(digest);
                match refusal.is_worth_a_warning() && !again {
                    true => tracing::warn!("{refusal} (on {})", message.topic),
                    false => tracing::debug!("{refusal} (on {})", message.topic),
                }
                Ok(())
            }
        }
    }

    fn on_incoming(
        &mut self,
        incoming: Incoming,
        message: &Message,
        now: Millis,
    ) -> Result<(), LedgerError> {
        match incoming {
            Incoming::Plan(plan) => {
                self.feed(EdgeEvent::Plan(plan))?;
                if message.retain && self.connected {
                    // Its objects went to those who were there.
                    self.parts.downloads.hurry(now);
                }
                Ok(())
            }
            Incoming::PlanCleared(job) => {
                if self.fetching.take_if(|plan| plan.key.job == job).is_some() {
                    self.parts.downloads.stop();
                }
                // What is worked on is cancelled before the rows go, which are not fixed again then.
                self.feed(EdgeEvent::PlanCleared(job.clone()))?;
                self.on_bench(move |worker| worker.job_over(&job));
                Ok(())
            }
            Incoming::Fog(member) => {
                tracing::debug!("the region's fog is {member}");
                Ok(())
            }
            Incoming::Welcome(welcome) => self.on_welcome(&welcome),
            Incoming::Receipt(receipt) => self.on_receipt(receipt),
            Incoming::Settled(settled) => {
                self.feed(EdgeEvent::Settled(settled.key.round, settled.outcome))
            }
            Incoming::Manifest(manifest) => {
                let taken = self.parts.downloads.on_manifest(manifest, now);
                self.on_object(taken)
            }
            Incoming::Chunk(name) => {
                let taken = self.parts.downloads.on_chunk(&name, &message.payload, now);
                self.on_object(taken)
            }
            Incoming::Want(want) => {
                let key = lock(&self.parts.ledger).find(&want.digest).cloned();
                match key {
                    Some(key) => self.send(&key, Some(want)),
                    None => Ok(()),
                }
            }
        }
    }

    fn on_object(&mut self, taken: Result<(), String>) -> Result<(), LedgerError> {
        if let Err(why) = taken {
            tracing::warn!("{why}");
        }
        self.start_when_ready()
    }

    fn on_welcome(&mut self, welcome: &Welcome) -> Result<(), LedgerError> {
        if !VersionRange::SPOKEN.contains(welcome.version) {
            tracing::warn!(
                "the fog speaks protocol version {} and this agent {} to {}: update the older side",
                welcome.version,
                VersionRange::SPOKEN.min,
                VersionRange::SPOKEN.max
            );
        }
        let offset_us = welcome.fog_time_us.saturating_sub(wall_us_signed());
        self.traces.clock_offset(offset_us / 1_000);
        if offset_us.saturating_abs() > CLOCK_OFFSET_SHOWN_US {
            tracing::warn!(
                "this device's clock is {:.1} s off the fog's: rounds do not mind, logs do",
                offset_us as f64 / 1e6
            );
        }
        let answers = welcome.answers.iter().cloned();
        let answers = answers.map(|(key, answer)| (key.round, answer_of(answer)));
        self.feed(EdgeEvent::Welcome(answers.collect()))
    }

    fn on_receipt(&mut self, receipt: Receipt) -> Result<(), LedgerError> {
        let key = receipt.key.round;
        let held = lock(&self.parts.ledger).digest(&key);
        let admission = match receipt.admission {
            _ if held.is_none() => return Ok(()),
            admission if held == Some(receipt.digest) => admission,
            Admission::Admitted => {
                tracing::warn!("{}: the fog has admitted other bytes", say::place(&key));
                Admission::Rejected(Reason::Duplicate)
            }
            Admission::Rejected(reason) => {
                tracing::warn!(
                    "{}: the fog refused other bytes that came under this device's name: {reason}",
                    say::place(&key)
                );
                return Ok(());
            }
        };
        match admission {
            Admission::Admitted => tracing::info!("{}: admitted", say::place(&key)),
            Admission::Rejected(reason) => {
                tracing::warn!("{}: rejected: {reason}", say::place(&key));
            }
        }
        if let Some(batch) = self.traces.answered(&key) {
            self.say(Up::Spans, &batch, Some(&key));
        }
        self.feed(EdgeEvent::Receipt(key, admission))
    }
}

fn answer_of(answer: fl_wire::Answer) -> fl_round::Answer {
    match answer {
        fl_wire::Answer::Admitted => fl_round::Answer::Admitted,
        fl_wire::Answer::Rejected(reason) => fl_round::Answer::Rejected(reason),
        fl_wire::Answer::Settled(outcome) => fl_round::Answer::Settled(outcome),
        fl_wire::Answer::SendAgain => fl_round::Answer::SendAgain,
        fl_wire::Answer::Unknown => fl_round::Answer::Unknown,
    }
}
