//! The device's side: one plan at a time, and contributions that are kept until they are settled.
//!
//! ```text
//! plan ─► fetching ─► working ─► sent ─► admitted ─► settled (forgotten)
//!              │          └────► declined    │
//!              └── a newer plan ends it      └── rejected (forgotten)
//! ```

use std::collections::BTreeMap;

use fl_model::{Admission, Epoch, JobId, Outcome, Reason, RoundKey, RoundPlan};

use crate::time::{Millis, Timeout};

/// What a fog knows about a contribution that a device still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is in the durable sum of an open round.
    Admitted,
    /// It will not be counted.
    Rejected(Reason),
    /// Its round is settled.
    Settled(Outcome),
    /// The round is open and it is not here: send the same bytes again.
    SendAgain,
    /// Neither the round nor the key is known here any more.
    Unknown,
}

/// What happens to a device.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeEvent {
    /// The broker session is up.
    Connected,
    /// It is gone.
    Disconnected,
    /// A plan with a valid signature arrived.
    Plan(Box<RoundPlan>),
    /// The fog took the plan of that job back: nothing of it is wanted now.
    PlanCleared(JobId),
    /// The plan's objects are here and match their digests.
    ObjectsReady(RoundKey),
    /// The contribution is made and stored durably.
    Stored(RoundKey),
    /// It could not be made.
    Failed(RoundKey, Reason),
    /// The fog answered the contribution.
    Receipt(RoundKey, Admission),
    /// The contribution's round is settled.
    Settled(RoundKey, Outcome),
    /// The fog's answers to the outstanding keys of the hello.
    Welcome(Vec<(RoundKey, Answer)>),
    /// The time of [`EdgeRound::next_timeout`] has come.
    Timeout,
}

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeEffect {
    /// Tell the fog which contributions are outstanding.
    Hello(Vec<RoundKey>),
    /// Remember durably that no lower epoch counts.
    SaveEpoch(Epoch),
    /// Get the plan's model and parameters.
    Fetch(Box<RoundPlan>),
    /// Make the contribution, store it with its residual, then report [`EdgeEvent::Stored`].
    Work(Box<RoundPlan>),
    /// Stop what is being made for this phase: it is no longer wanted.
    Cancel(RoundKey),
    /// Send the stored bytes.
    Send(RoundKey),
    /// Tell the fog that there will be no contribution, and why.
    Decline(RoundKey, Reason),
    /// Delete the stored bytes, commit the residual as the outcome says, and remember durably that
    /// this phase is over.
    Forget(RoundKey, Outcome),
    /// A plan was not followed because its root has been replaced.
    StalePlan(RoundKey, Epoch),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fetching,
    Working,
    Done,
    Declined(Reason),
}

#[derive(Debug)]
struct Current {
    plan: Box<RoundPlan>,
    stage: Stage,
    /// When a refusal is said again: nobody answers it, and a fog that started anew may not know it.
    say_at: Option<Millis>,
}

/// A stored contribution on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    admitted: bool,
    /// When it is sent again or, once admitted, asked about: its settlement may have been lost.
    ask_at: Option<Millis>,
}

/// An admitted contribution is asked about that many times later than another one is sent again.
const ADMITTED_PATIENCE: Millis = 8;

/// A device's state between two events.
#[derive(Debug)]
pub struct EdgeRound {
    epoch: Epoch,
    /// The newest phase that is over for this device: its plan may come again, its work may not.
    last: Option<RoundKey>,
    connected: bool,
    current: Option<Current>,
    held: BTreeMap<RoundKey, Held>,
    resend_after_ms: Millis,
}

impl EdgeRound {
    /// A device as its disk remembers it: the highest epoch seen, the phase it forgot last, and the
    /// contributions in its outbox. An unanswered contribution is sent again after `resend_after_ms`;
    /// the fog is asked about an admitted one after eight times that.
    pub fn restore(
        epoch: Epoch,
        last: Option<RoundKey>,
        outbox: Vec<RoundKey>,
        resend_after_ms: Millis,
    ) -> Self {
        Self {
            epoch,
            last,
            connected: false,
            current: None,
            held: outbox
                .into_iter()
                .map(|key| (key, Held::default()))
                .collect(),
            resend_after_ms,
        }
    }

    /// The phase that is being worked on, if any.
    pub fn working_on(&self) -> Option<&RoundKey> {
        let busy = |c: &&Current| matches!(c.stage, Stage::Fetching | Stage::Working);
        self.current.as_ref().filter(busy).map(|c| &c.plan.key)
    }

    /// The contributions that are stored and not settled.
    pub fn outstanding(&self) -> Vec<RoundKey> {
        self.held.keys().cloned().collect()
    }

    /// The newest phase that is over: what [`EdgeEffect::Forget`] has to make durable, whatever phase
    /// it names, and what [`EdgeRound::restore`] takes.
    pub fn last(&self) -> Option<&RoundKey> {
        self.last.as_ref()
    }

    /// When to call with [`EdgeEvent::Timeout`].
    pub fn next_timeout(&self) -> Option<Timeout> {
        let asked = self.held.values().filter_map(|held| held.ask_at).min();
        let asked = asked.map(|at| (at, "no answer to a contribution"));
        let said = self.current.as_ref().and_then(|current| current.say_at);
        let said = said.map(|at| (at, "a fog that may not know of a refusal"));
        let (at, why) = asked.into_iter().chain(said).min()?;
        self.connected.then_some(Timeout { at, why })
    }

    /// Takes one event.
    pub fn handle(&mut self, event: EdgeEvent, now: Millis) -> Vec<EdgeEffect> {
        match event {
            EdgeEvent::Connected => {
                self.connected = true;
                self.hello(now)
            }
            EdgeEvent::Disconnected => {
                self.connected = false;
                Vec::new()
            }
            EdgeEvent::Plan(plan) => self.on_plan(plan, now),
            EdgeEvent::PlanCleared(job) => self.on_cleared(&job),
            EdgeEvent::ObjectsReady(key) => self.on_objects(&key),
            EdgeEvent::Stored(key) => self.on_stored(key, now),
            EdgeEvent::Failed(key, reason) => self.on_failed(&key, reason, now),
            EdgeEvent::Receipt(key, admission) => self.on_receipt(key, admission, now),
            EdgeEvent::Settled(key, outcome) => self.forget(key, outcome),
            EdgeEvent::Welcome(answers) => self.on_welcome(answers, now),
            EdgeEvent::Timeout => self.on_timeout(now),
        }
    }

    fn on_plan(&mut self, plan: Box<RoundPlan>, now: Millis) -> Vec<EdgeEffect> {
        let key = plan.key.clone();
        if plan.epoch < self.epoch {
            return vec![EdgeEffect::StalePlan(key, self.epoch)];
        }
        let older = |current: &Current| current.plan.key.job == key.job && key < current.plan.key;
        if self.current.as_ref().is_some_and(older) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        if plan.epoch > self.epoch {
            self.epoch = plan.epoch;
            effects.push(EdgeEffect::SaveEpoch(plan.epoch));
        }
        let of_job = self.last.as_ref().filter(|last| last.job == key.job);
        if let Some(last) = of_job.filter(|last| key <= **last) {
            // A fog that has forgotten why this device is out need not wait for it.
            if key == *last && self.connected {
                effects.push(EdgeEffect::Decline(key, Reason::Stale));
            }
            return effects;
        }
        if let Some(current) = &self.current {
            if current.plan.key == key {
                // The fog started again and asks once more: what it may have lost is said again.
                if current.stage == Stage::Done {
                    effects.extend(self.send(key, now));
                }
                effects.extend(self.say_refusal(now));
                return effects;
            }
            if matches!(current.stage, Stage::Fetching | Stage::Working) {
                effects.push(EdgeEffect::Cancel(current.plan.key.clone()));
            }
        }
        let stage = if self.held.contains_key(&key) {
            effects.extend(self.send(key, now));
            Stage::Done
        } else {
            effects.push(EdgeEffect::Fetch(plan.clone()));
            Stage::Fetching
        };
        self.current = Some(Current {
            plan,
            stage,
            say_at: None,
        });
        effects
    }

    fn on_cleared(&mut self, job: &JobId) -> Vec<EdgeEffect> {
        let of_job = |current: &mut Current| current.plan.key.job == *job;
        match self.current.take_if(of_job) {
            Some(current) if matches!(current.stage, Stage::Fetching | Stage::Working) => {
                vec![EdgeEffect::Cancel(current.plan.key)]
            }
            _ => Vec::new(),
        }
    }

    fn on_objects(&mut self, key: &RoundKey) -> Vec<EdgeEffect> {
        match &mut self.current {
            Some(current)
                if current.plan.key == *key
                    && current.stage == Stage::Fetching
                    && !self.held.contains_key(key) =>
            {
                current.stage = Stage::Working;
                vec![EdgeEffect::Work(current.plan.clone())]
            }
            _ => Vec::new(),
        }
    }

    fn on_stored(&mut self, key: RoundKey, now: Millis) -> Vec<EdgeEffect> {
        self.set_stage(&key, Stage::Done);
        self.held.entry(key.clone()).or_default();
        self.send(key, now)
    }

    fn on_failed(&mut self, key: &RoundKey, reason: Reason, now: Millis) -> Vec<EdgeEffect> {
        if !self.set_stage(key, Stage::Declined(reason)) {
            return Vec::new();
        }
        self.say_refusal(now)
    }

    /// Says that there will be no contribution to the phase in progress, where that is so.
    fn say_refusal(&mut self, now: Millis) -> Vec<EdgeEffect> {
        let Some(current) = self.current.as_mut() else {
            return Vec::new();
        };
        let Stage::Declined(reason) = current.stage else {
            return Vec::new();
        };
        current.say_at = Some(now + self.resend_after_ms);
        vec![EdgeEffect::Decline(current.plan.key.clone(), reason)]
    }

    fn set_stage(&mut self, key: &RoundKey, stage: Stage) -> bool {
        match &mut self.current {
            Some(current) if current.plan.key == *key => {
                current.stage = stage;
                true
            }
            _ => false,
        }
    }

    fn on_receipt(&mut self, key: RoundKey, admission: Admission, now: Millis) -> Vec<EdgeEffect> {
        match admission {
            Admission::Admitted => {
                let patience = self.patience(true);
                if let Some(held) = self.held.get_mut(&key) {
                    held.admitted = true;
                    held.ask_at = Some(now + patience);
                }
                Vec::new()
            }
            // It is in a durable sum: how it ends is for the root's record to say.
            Admission::Rejected(_) if self.held.get(&key).is_some_and(|held| held.admitted) => {
                Vec::new()
            }
            Admission::Rejected(reason) => self.forget(key, Outcome::Excluded(reason)),
        }
    }

    fn on_welcome(&mut self, answers: Vec<(RoundKey, Answer)>, now: Millis) -> Vec<EdgeEffect> {
        let mut effects = Vec::new();
        for (key, answer) in answers {
            effects.extend(match answer {
                Answer::Admitted => self.on_receipt(key, Admission::Admitted, now),
                Answer::Rejected(reason) => self.forget(key, Outcome::Excluded(reason)),
                Answer::Settled(outcome) => self.forget(key, outcome),
                Answer::Unknown => self.forget(key, Outcome::Excluded(Reason::Stale)),
                Answer::SendAgain => {
                    if let Some(held) = self.held.get_mut(&key) {
                        held.admitted = false;
                    }
                    self.send(key, now)
                }
            });
        }
        effects.extend(self.say_refusal(now));
        effects
    }

    fn on_timeout(&mut self, now: Millis) -> Vec<EdgeEffect> {
        if !self.connected {
            return Vec::new();
        }
        let due = |held: &Held| held.ask_at.is_some_and(|at| at <= now);
        if self.held.values().any(|held| held.admitted && due(held)) {
            return self.hello(now);
        }
        let late = self.held.iter().filter(|(_, held)| due(held));
        let late: Vec<RoundKey> = late.map(|(key, _)| key.clone()).collect();
        let mut effects: Vec<EdgeEffect> = late
            .into_iter()
            .flat_map(|key| self.send(key, now))
            .collect();
        let refusal = self.current.as_ref().and_then(|current| current.say_at);
        if refusal.is_some_and(|at| at <= now) {
            effects.extend(self.say_refusal(now));
        }
        effects
    }

    /// Asks about everything that is outstanding; the answer, too, may be lost.
    fn hello(&mut self, now: Millis) -> Vec<EdgeEffect> {
        let patience = [self.patience(false), self.patience(true)];
        for held in self.held.values_mut() {
            held.ask_at = Some(now + patience[usize::from(held.admitted)]);
        }
        vec![EdgeEffect::Hello(self.outstanding())]
    }

    fn patience(&self, admitted: bool) -> Millis {
        let times = if admitted { ADMITTED_PATIENCE } else { 1 };
        self.resend_after_ms * times
    }

    /// Sends a held contribution unless it is admitted; while away, the next welcome asks for it.
    fn send(&mut self, key: RoundKey, now: Millis) -> Vec<EdgeEffect> {
        let Some(held) = self.held.get_mut(&key) else {
            return Vec::new();
        };
        if held.admitted || !self.connected {
            return Vec::new();
        }
        held.ask_at = Some(now + self.resend_after_ms);
        vec![EdgeEffect::Send(key)]
    }

    fn forget(&mut self, key: RoundKey, outcome: Outcome) -> Vec<EdgeEffect> {
        if self.held.remove(&key).is_none() {
            return Vec::new();
        }
        let newer = |last: &RoundKey| last.job != key.job || *last < key;
        if self.last.as_ref().is_none_or(newer) {
            self.last = Some(key.clone());
        }
        vec![EdgeEffect::Forget(key, outcome)]
    }
}
