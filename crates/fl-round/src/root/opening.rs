//! When a phase is opened, and with which plan.

use std::collections::BTreeMap;

use fl_model::{
    Epoch, EvaluateWork, JobEnd, JobId, LogEntry, Normalization, ObjectRef, Phase, Privacy,
    RegionId, RoundKey, RoundNumber, RoundPlan, TraceContext, TrainWork, TrainingSpec, Work,
};

use super::{Current, Fog, RootEffect, RootRound};
use crate::time::{Millis, Timeout};

impl RootRound {
    pub(super) fn set_regions(&mut self, regions: BTreeMap<RegionId, u32>) {
        let before = std::mem::take(&mut self.fogs);
        let fog = |(region, devices): (RegionId, u32)| {
            let known = before.get(&region);
            let fog = Fog {
                devices,
                online: known.map_or(0, |fog| fog.online),
                heard: known.and_then(|fog| fog.heard),
            };
            (region, fog)
        };
        self.fogs = regions.into_iter().map(fog).collect();
    }

    pub(super) fn on_beat(&mut self, region: RegionId, online: u32, now: Millis) {
        if let Some(fog) = self.fogs.get_mut(&region) {
            fog.online = online;
            fog.heard = Some(now);
        }
        self.end_lull();
        if self.online() < self.spec.quorum {
            self.enough_since = None;
        } else {
            self.enough_since.get_or_insert(now);
        }
    }

    /// After a round without its quorum: pauses double up to a bound, without end, for a federation
    /// may sleep over a weekend and shall wake by itself. Who comes meanwhile ends the pause.
    pub(super) fn back_off(&mut self, now: Millis) {
        let doublings = self.failures.saturating_sub(1).min(Millis::BITS - 1);
        let pause = self.limits.retry_ms.saturating_mul(1 << doublings);
        self.not_before = now + pause.min(self.limits.retry_max_ms);
        self.lull.soonest = now + self.limits.retry_ms;
        self.end_lull();
    }

    /// Devices that were missing are connected: the next round may do better.
    fn end_lull(&mut self) {
        let online = self.online();
        if online > self.lull.fewest && self.current.is_none() {
            self.not_before = self.not_before.min(self.lull.soonest);
            self.lull.fewest = online;
        }
        self.lull.fewest = self.lull.fewest.min(online);
    }

    /// Silence while the bus was away says nothing of a fog, and what waits on the bus has yet to come.
    pub(super) fn on_reconnected(&mut self, now: Millis) {
        for fog in self.fogs.values_mut().filter(|fog| fog.heard.is_some()) {
            fog.heard = Some(now);
        }
        self.started = self.started.map(|_| now);
        // A plan that went out just before is heard only now: the phase has its whole time again.
        self.set_deadline(now);
    }

    /// Whether a region's fog may still answer.
    pub(super) fn is_alive(&self, region: &RegionId) -> bool {
        self.silent_at(region).is_some_and(|at| self.now < at)
    }

    /// When a region's fog counts as dead. One that this root has not heard of yet is waited for, too.
    fn silent_at(&self, region: &RegionId) -> Option<Millis> {
        Some(match self.fogs.get(region).and_then(|fog| fog.heard) {
            Some(heard) => heard + self.limits.fog_silence_ms,
            None => self.started? + self.limits.grace_ms,
        })
    }

    /// When the next awaited region stops being waited for.
    pub(super) fn silence_timeout(&self, current: &Current, started: Millis) -> Option<Timeout> {
        let regions = current.regions.iter();
        let open = regions.filter(|region| !current.has_answered(region));
        let silent = open.filter_map(|region| self.silent_at(region));
        let at = silent.filter(|&at| at > self.now.max(started)).min()?;
        let why = "a fog's silence";
        Some(Timeout { at, why })
    }

    pub(super) fn online(&self) -> u32 {
        let alive = self.fogs.iter().filter(|(region, _)| self.is_alive(region));
        alive.map(|(_, fog)| fog.online).sum()
    }

    pub(super) fn opening_timeout(&self) -> Option<Timeout> {
        let why = "the next round";
        let gathering = self.enough_since.filter(|_| self.is_first_phase());
        let gathered = gathering.map(|since| since + self.limits.gather_ms);
        let at = gathered.unwrap_or(0).max(self.not_before);
        (at > self.now).then_some(Timeout { at, why })
    }

    pub(super) fn open_if_due(
        &mut self,
        now: Millis,
        at_us: u64,
        trace: impl Fn(&JobId, RoundNumber) -> TraceContext,
    ) -> Vec<RootEffect> {
        if self.current.is_some() || self.epoch.0 == 0 || now < self.not_before {
            return Vec::new();
        }
        let Some(key) = self.next.clone() else {
            let how = JobEnd::Finished;
            return self.append(LogEntry::Ended { how, at_us });
        };
        let (online, quorum) = (self.online(), self.spec.quorum);
        if online < quorum {
            if self.waiting_said == Some(online) {
                return Vec::new();
            }
            self.waiting_said = Some(online);
            return vec![RootEffect::Waiting { online, quorum }];
        }
        self.waiting_said = None;
        if !self.gathered(online, now) {
            return Vec::new();
        }
        let Some(work) = self.work(key.phase) else {
            return Vec::new();
        };
        let trace = trace(&self.job, key.round);
        let plan = self.plan_of(key, work, trace);
        self.append(LogEntry::Opened {
            plan: Box::new(plan),
            regions: self.fogs.keys().cloned().collect(),
            at_us,
        })
    }

    fn plan_of(&self, key: RoundKey, work: Work, trace: TraceContext) -> RoundPlan {
        RoundPlan {
            key,
            epoch: self.epoch,
            model: self.model,
            options: self.spec.options.clone(),
            draw: self.spec.randomize.then_some(self.spec.seed),
            parameters: self.parameters,
            data: self.spec.data.clone(),
            work,
            quorum: self.spec.quorum,
            contributions_max: self.spec.contributions_max,
            deadline_ms: self.spec.deadline_ms,
            trace,
            region_contributions_max: self.region_contributions_max(),
        }
    }

    /// A plan of the job that no other exceeds in bytes, for who has to know before there is a round
    /// whether plans can be sent.
    pub fn largest_plan(&self) -> RoundPlan {
        let columns = self.spec.data.inputs.encoded_width();
        let normalization = Normalization {
            mean: vec![1.0; columns],
            scale: vec![1.0; columns],
        };
        let key = RoundKey {
            job: self.job.clone(),
            round: RoundNumber(u32::MAX),
            phase: Phase::Train,
        };
        let longest = |object: ObjectRef| ObjectRef {
            bytes: u64::MAX,
            ..object
        };
        RoundPlan {
            epoch: Epoch(u64::MAX),
            model: longest(self.model),
            parameters: longest(self.parameters),
            region_contributions_max: u32::MAX,
            ..self.plan_of(key, self.train(normalization), TraceContext::default())
        }
    }

    /// The most contributions per region with which the regions that are there stay within the job's bound:
    /// what small regions leave over is for the large ones, and the dead keep no share.
    fn region_contributions_max(&self) -> u32 {
        let alive = self.fogs.iter().filter(|(region, _)| self.is_alive(region));
        let mut devices: Vec<u32> = alive.map(|(_, fog)| fog.devices).collect();
        devices.sort_unstable();
        let mut left = self.spec.contributions_max;
        let mut regions = devices.len() as u32;
        for devices in devices {
            let share = left / regions;
            if devices > share {
                return share.max(1);
            }
            (left, regions) = (left - devices, regions - 1);
        }
        self.spec.contributions_max
    }

    /// The first phase waits a little for those who are still starting.
    fn gathered(&self, online: u32, now: Millis) -> bool {
        let everybody = online >= self.fogs.values().map(|fog| fog.devices).sum();
        let waited = |since: Millis| now >= since + self.limits.gather_ms;
        !self.is_first_phase() || everybody || self.enough_since.is_some_and(waited)
    }

    fn is_first_phase(&self) -> bool {
        self.record.phases.is_empty()
    }

    fn work(&self, phase: Phase) -> Option<Work> {
        let spec = &self.spec;
        Some(match phase {
            Phase::Statistics => Work::Statistics,
            Phase::Train => self.train(self.normalization.clone()?),
            Phase::Evaluate => Work::Evaluate(EvaluateWork {
                loss: spec.training.loss,
                normalization: self.normalization.clone()?,
            }),
        })
    }

    fn train(&self, normalization: Normalization) -> Work {
        let spec = &self.spec;
        let full = spec.training.learning_rate;
        let rate = spec.schedule.rate(full, self.merged_rounds, spec.rounds);
        Work::Train(Box::new(TrainWork {
            training: TrainingSpec {
                learning_rate: rate,
                ..spec.training.clone()
            },
            normalization,
            grid: self.grid.clone(),
            clip_norm: spec.clip_norm,
            weighting: spec.weighting,
            weight_max: spec.weight_max,
            privacy: Privacy::Off,
            seed: spec.seed,
        }))
    }
}
