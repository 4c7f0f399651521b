//! When a phase is opened, and with which plan.

use std::collections::BTreeMap;

use fl_model::{
    EvaluateWork, JobEnd, JobId, LogEntry, Phase, Privacy, RegionId, RoundNumber, RoundPlan,
    TraceContext, TrainWork, Work,
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
        if self.online() < self.spec.quorum {
            self.enough_since = None;
        } else {
            self.enough_since.get_or_insert(now);
        }
    }

    /// Silence while the bus was away says nothing of a fog, and what waits on the bus has yet to come.
    pub(super) fn on_reconnected(&mut self, now: Millis) {
        for fog in self.fogs.values_mut().filter(|fog| fog.heard.is_some()) {
            fog.heard = Some(now);
        }
        self.started = self.started.map(|_| now);
        let report_ms = self.limits.report_ms;
        if let Some(deadline) = self
            .current
            .as_mut()
            .and_then(|current| current.deadline.as_mut())
        {
            *deadline = (*deadline).max(now + report_ms);
        }
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
        let open = regions.filter(|region| !current.accepted.contains_key(*region));
        let silent = open.filter_map(|region| self.silent_at(region));
        let at = silent.filter(|&at| at > self.now.max(started)).min()?;
        let why = "a fog's silence";
        Some(Timeout { at, why })
    }

    fn online(&self) -> u32 {
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
        let plan = RoundPlan {
            trace: trace(&self.job, key.round),
            key,
            epoch: self.epoch,
            model: self.model,
            parameters: self.parameters,
            data: self.spec.data.clone(),
            work,
            quorum,
            contributions_max: self.spec.contributions_max,
            deadline_ms: self.spec.deadline_ms,
        };
        self.append(LogEntry::Opened {
            plan: Box::new(plan),
            regions: self.fogs.keys().cloned().collect(),
            at_us,
        })
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
            Phase::Train => Work::Train(Box::new(TrainWork {
                training: spec.training,
                normalization: self.normalization.clone()?,
                grid: self.grid.clone(),
                clip_norm: spec.clip_norm,
                weighting: spec.weighting,
                weight_max: spec.weight_max,
                privacy: Privacy::Off,
                seed: spec.seed,
            })),
            Phase::Evaluate => Work::Evaluate(EvaluateWork {
                loss: spec.training.loss,
                normalization: self.normalization.clone()?,
            }),
        })
    }
}
