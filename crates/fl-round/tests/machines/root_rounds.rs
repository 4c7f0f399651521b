//! How a root opens and closes rounds.

use std::collections::{BTreeMap, VecDeque};

use fl_model::{
    Decay, Epoch, EvaluationCounters, Grid, JobEnd, JobFailure, JobSpec, LogEntry, PartialSum,
    Phase, PhaseResult, Reason, RegionId, RoundOutcome, RoundPlan, Schedule, TraceContext, Work,
};
use fl_round::{Millis, ReplayError, RootEffect, RootEvent, RootLimits, RootRound, RootStage};

use crate::common::{
    DEADLINE_MS, TENSORS, digest, key, normalization, object, partial, phase, region, spec,
};

pub(crate) const LIMITS: RootLimits = RootLimits {
    fog_silence_ms: 3_000,
    grace_ms: 2_000,
    report_ms: 500,
    gather_ms: 400,
    retry_ms: 300,
    retry_max_ms: 1_000,
};

pub(crate) fn submitted(spec: JobSpec) -> LogEntry {
    LogEntry::Submitted {
        spec: Box::new(spec),
        model: object("model"),
        parameters: object("parameters"),
        tensors: TENSORS.iter().map(|&n| n as u64).collect(),
        at_us: 0,
    }
}

/// A root and the log that its shell keeps.
pub(crate) struct Cloud {
    pub(crate) root: RootRound,
    pub(crate) log: Vec<LogEntry>,
}

impl Cloud {
    /// A root that reads that log; not started.
    pub(crate) fn reading(log: &[LogEntry]) -> Self {
        Self {
            root: RootRound::replay(LIMITS, log).unwrap(),
            log: log.to_vec(),
        }
    }

    /// Started at 0 with regions `r` and `s` of two devices each, none heard yet.
    pub(crate) fn new() -> Self {
        Self::of(spec())
    }

    /// The same, of another job.
    pub(crate) fn of(spec: JobSpec) -> Self {
        let mut cloud = Self::reading(&[submitted(spec)]);
        cloud.handle(regions(), 0);
        assert_eq!(
            cloud.handle(RootEvent::Started, 0),
            "log led 1, waiting 0 of 2"
        );
        cloud
    }

    /// With round 0 open since 0 and everybody there.
    pub(crate) fn open() -> Self {
        Self::new().with_everybody()
    }

    /// With round 0 open since 0 and everybody there.
    pub(crate) fn with_everybody(mut self) -> Self {
        self.beat("r", 2, 0);
        self.beat("s", 2, 0);
        assert_eq!(self.root.stage(), RootStage::Open);
        self
    }

    pub(crate) fn beat(&mut self, from: &str, online: u32, now: Millis) -> String {
        self.handle(RootEvent::Beat(region(from), online), now)
    }

    pub(crate) fn plan(&self) -> RoundPlan {
        self.root.plan().unwrap().clone()
    }

    pub(crate) fn partial(&self, from: &str, contributors: &str) -> PartialSum {
        partial(&self.plan(), from, contributors)
    }

    /// An honest partial for the open phase.
    pub(crate) fn report(&mut self, from: &str, contributors: &str, now: Millis) -> String {
        let partial = self.partial(from, contributors);
        self.handle(received(partial, from), now)
    }

    /// What the merge of the open phase gives.
    pub(crate) fn merged(&mut self, now: Millis) -> String {
        let plan = self.plan();
        let result = match plan.key.phase {
            Phase::Statistics => PhaseResult::Statistics {
                rows: 1,
                normalization: normalization(),
            },
            Phase::Train => PhaseResult::Train {
                parameters: object(&phase(&plan.key)),
                moments: None,
                grid: Grid::for_clip_norm(spec().grid, 0.5, TENSORS.len()),
                examples: 1,
                loss: 1.0,
            },
            Phase::Evaluate => PhaseResult::Evaluate(EvaluationCounters::default()),
        };
        self.handle(RootEvent::Merged(plan.key, Box::new(result)), now)
    }

    /// One whole phase in which both regions report.
    pub(crate) fn pass(&mut self, now: Millis) -> String {
        self.report("r", "a b", now);
        self.report("s", "c", now);
        self.merged(now)
    }

    /// Effects as lines; what the log took is committed at once.
    pub(crate) fn handle(&mut self, event: RootEvent, now: Millis) -> String {
        let mut lines = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let trace = |_: &_, _| TraceContext::default();
            for effect in self.root.handle(event, now, now, trace) {
                if let RootEffect::Append(entry) = &effect {
                    self.log.push(entry.clone());
                    events.push_back(RootEvent::Committed(entry.clone()));
                }
                lines.push(line(effect));
            }
        }
        lines.join(", ")
    }
}

pub(crate) fn regions() -> RootEvent {
    RootEvent::Regions(BTreeMap::from([(region("r"), 2), (region("s"), 2)]))
}

pub(crate) fn received(partial: PartialSum, bytes: &str) -> RootEvent {
    RootEvent::Partial {
        partial: Box::new(partial),
        digest: digest(bytes),
        bytes: 100,
    }
}

fn names(regions: &[RegionId]) -> String {
    regions
        .iter()
        .map(RegionId::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn line(effect: RootEffect) -> String {
    match effect {
        RootEffect::Append(entry) => match entry {
            LogEntry::Submitted { .. } => "log submitted".into(),
            LogEntry::Led { epoch, .. } => format!("log led {epoch}"),
            LogEntry::Opened { plan, .. } => format!("log opened {}", phase(&plan.key)),
            LogEntry::PartialAccepted { region, .. } => format!("log accepted {region}"),
            LogEntry::Closed {
                outcome, absent, ..
            } => {
                let absent = absent
                    .iter()
                    .map(|a| format!(" without {} {}", a.region, a.reason));
                format!("log closed {outcome:?}{}", absent.collect::<String>())
            }
            LogEntry::Settled { key, .. } => format!("log settled {}", phase(&key)),
            LogEntry::Ended { how, .. } => format!("log ended {how:?}"),
        },
        RootEffect::PublishPlan(plan, to) => format!("plan {} to {}", phase(&plan.key), names(&to)),
        RootEffect::FetchPartial(key, from, _) => format!("fetch {} of {from}", phase(&key)),
        RootEffect::RefusePartial(from, _, why) => format!("refuse {from}: {why:?}"),
        RootEffect::Merge(input) => format!("merge {}", phase(&input.plan.key)),
        RootEffect::PublishSettled(record) => {
            let outcome = record.closed.unwrap().0;
            format!("tell {} {outcome:?}", phase(&record.key))
        }
        RootEffect::RoundDone(record) => format!("done {}", record.round),
        RootEffect::Waiting { online, quorum } => format!("waiting {online} of {quorum}"),
        RootEffect::Ended(how) => format!("ended {how:?}"),
    }
}

#[test]
fn a_job_goes_through_its_phases() {
    let mut cloud = Cloud::new();
    assert_eq!(cloud.beat("r", 2, 1), "");
    let opened = "log opened 0/statistics, plan 0/statistics to r s";
    assert_eq!(cloud.beat("s", 2, 2), opened);
    assert_eq!(cloud.report("r", "a b", 3), "log accepted r");
    let closed = "log accepted s, log closed Merged, merge 0/statistics";
    assert_eq!(cloud.report("s", "c", 4), closed);
    let next =
        |before: &str, after: &str| format!("log settled {before}, tell {before} Merged{after}");
    let expected = next(
        "0/statistics",
        ", done 0, log opened 1/train, plan 1/train to r s",
    );
    assert_eq!(cloud.merged(5), expected);
    let expected = next("1/train", ", log opened 1/evaluate, plan 1/evaluate to r s");
    assert_eq!(cloud.pass(6), expected);
    assert_eq!(cloud.root.parameters(), object("1/train"));
    assert_eq!(cloud.plan().parameters, object("1/train"));
    let expected = next(
        "1/evaluate",
        ", done 1, log opened 2/train, plan 2/train to r s",
    );
    assert_eq!(cloud.pass(7), expected);
    cloud.pass(8);
    let expected = next("2/evaluate", ", done 2, log ended Finished, ended Finished");
    assert_eq!(cloud.pass(9), expected);
    assert_eq!(cloud.root.stage(), RootStage::Ended(JobEnd::Finished));
    assert_eq!(cloud.root.merged_rounds(), 2);
    let phases = &cloud.root.record().phases;
    assert_eq!(phases.len(), 2);
    assert!(phases.iter().all(|phase| phase.contributors() == 3));
}

#[test]
fn the_learning_rate_follows_the_schedule_over_merged_rounds() {
    let schedule = Schedule {
        warmup_rounds: 1,
        decay: Decay::Constant,
    };
    let mut cloud = Cloud::of(JobSpec { schedule, ..spec() }).with_everybody();
    cloud.pass(1);
    let rate = |cloud: &Cloud| match cloud.plan().work {
        Work::Train(work) => work.training.learning_rate,
        work => panic!("{work:?}"),
    };
    assert_eq!(rate(&cloud), 0.05);
    // A round without its quorum is no step of the schedule.
    cloud.report("r", "", 2);
    cloud.report("s", "a", 2);
    cloud.handle(RootEvent::Timeout, 2 + LIMITS.retry_ms);
    assert_eq!((cloud.plan().key, rate(&cloud)), (key("2/train"), 0.05));
    cloud.pass(1_000);
    cloud.pass(1_001);
    assert_eq!((cloud.plan().key, rate(&cloud)), (key("3/train"), 0.1));
}

#[test]
fn the_first_phase_waits_a_little_for_those_who_are_starting() {
    let mut cloud = Cloud::new();
    assert_eq!(cloud.beat("r", 1, 10), "waiting 1 of 2");
    assert_eq!(cloud.beat("r", 1, 11), "");
    assert_eq!(cloud.beat("r", 2, 20), "");
    assert_eq!(
        cloud.root.next_timeout().map(|t| t.at),
        Some(20 + LIMITS.gather_ms)
    );
    assert_eq!(cloud.handle(RootEvent::Timeout, 419), "");
    let opened = "log opened 0/statistics, plan 0/statistics to r s";
    assert_eq!(cloud.handle(RootEvent::Timeout, 420), opened);
}

#[test]
fn a_silent_fog_is_not_waited_for() {
    let mut cloud = Cloud::open();
    cloud.beat("r", 2, 900);
    assert_eq!(cloud.report("r", "a b", 1_000), "log accepted r");
    let deadline = Millis::from(DEADLINE_MS) + LIMITS.report_ms;
    assert_eq!(cloud.root.next_timeout().map(|t| t.at), Some(deadline));
    let closed = "log closed Merged without s region_late, merge 0/statistics";
    assert_eq!(cloud.handle(RootEvent::Timeout, deadline), closed);

    let mut cloud = Cloud::open();
    cloud.pass(2_500);
    cloud.beat("r", 2, 2_900);
    cloud.report("r", "a b", 2_900);
    assert_eq!(
        cloud.root.next_timeout().map(|t| t.at),
        Some(LIMITS.fog_silence_ms)
    );
    let closed = "log closed Merged without s fog_silent, merge 1/train";
    assert_eq!(cloud.handle(RootEvent::Timeout, 3_000), closed);
    assert_eq!(
        cloud.root.record().phases[0].absent[0].reason,
        Reason::FogSilent
    );
}

#[test]
fn nobody_is_late_while_the_bus_is_away() {
    let mut cloud = Cloud::open();
    cloud.beat("r", 2, 900);
    cloud.beat("s", 2, 900);
    let back = 60_000;
    assert_eq!(cloud.handle(RootEvent::Reconnected, back), "");
    // The fogs may have got the plan only now, so the phase has its whole time again.
    let late = back + Millis::from(DEADLINE_MS);
    cloud.beat("r", 2, late - 1);
    cloud.beat("s", 2, late - 1);
    assert_eq!(
        cloud.root.next_timeout().map(|t| t.at),
        Some(late + LIMITS.report_ms)
    );
    assert_eq!(cloud.report("r", "a b", late), "log accepted r");
    let closed = cloud.report("s", "c", late + 1);
    assert!(
        closed.starts_with("log accepted s, log closed Merged"),
        "{closed}"
    );
}

#[test]
fn a_phase_without_its_quorum_is_tried_again_in_the_next_round() {
    let mut cloud = Cloud::open();
    cloud.report("r", "a", 1);
    let failed = "log accepted s, log closed NoQuorum, tell 0/statistics NoQuorum, done 0";
    assert_eq!(cloud.report("s", "", 2), failed);
    assert_eq!(cloud.root.stage(), RootStage::Waiting);
    assert_eq!(
        cloud.root.next_timeout().map(|t| t.at),
        Some(2 + LIMITS.retry_ms)
    );
    assert_eq!(cloud.handle(RootEvent::Timeout, 301), "");
    let opened = "log opened 1/statistics, plan 1/statistics to r s";
    assert_eq!(cloud.handle(RootEvent::Timeout, 302), opened);
    cloud.pass(303);
    assert_eq!(cloud.plan().key, key("2/train"));
    let fail = |cloud: &mut Cloud, now| {
        cloud.report("r", "", now);
        cloud.report("s", "a", now);
        cloud.handle(RootEvent::Timeout, now + LIMITS.retry_ms)
    };
    fail(&mut cloud, 400);
    assert_eq!(cloud.plan().key, key("3/train"));
    assert_eq!(cloud.plan().parameters, object("parameters"));
    cloud.pass(800);
    // An evaluation that fails is left out, but for the last.
    fail(&mut cloud, 900);
    assert_eq!(cloud.plan().key, key("4/train"));
    cloud.pass(1_300);
    fail(&mut cloud, 1_400);
    assert_eq!(cloud.plan().key, key("5/evaluate"));
    cloud.pass(1_800);
    assert_eq!(cloud.root.stage(), RootStage::Ended(JobEnd::Finished));
}

#[test]
fn a_merge_that_cannot_be_ends_the_job() {
    let mut cloud = Cloud::open();
    cloud.pass(1);
    let failed = |of: &str| RootEvent::MergeFailed(key(of), JobFailure::Diverged);
    assert_eq!(cloud.handle(failed("1/train"), 2), "");
    cloud.report("r", "a b", 3);
    cloud.report("s", "c", 3);
    assert_eq!(cloud.handle(failed("1/evaluate"), 4), "");
    let ended = "log ended Failed(Diverged), tell 1/train NoQuorum, done 1, ended Failed(Diverged)";
    assert_eq!(cloud.handle(failed("1/train"), 4), ended);
    let again = Cloud::reading(&cloud.log).root;
    let stage = RootStage::Ended(JobEnd::Failed(JobFailure::Diverged));
    assert_eq!(again.stage(), stage);
    assert_eq!(again.parameters(), object("parameters"));
}

#[test]
fn a_stop_settles_what_it_cuts_off() {
    let mut cloud = Cloud::open();
    cloud.report("r", "a b", 1);
    let stopped = "log ended Stopped, tell 0/statistics NoQuorum, done 0, ended Stopped";
    assert_eq!(cloud.handle(RootEvent::Stop, 2), stopped);
    assert_eq!(cloud.handle(RootEvent::Stop, 3), "");
    assert_eq!(cloud.root.next_timeout(), None);
    let record = &cloud.root.record().phases[0];
    assert_eq!(record.closed, Some((RoundOutcome::NoQuorum, 2)));
    assert!(
        record
            .absent
            .iter()
            .all(|absence| absence.reason == Reason::JobEnded)
    );

    // Between the phases of a round, and before the first.
    let mut cloud = Cloud::open();
    cloud.pass(1);
    cloud.report("r", "a b", 2);
    cloud.report("s", "c", 2);
    cloud.beat("r", 0, 2);
    cloud.beat("s", 0, 2);
    assert_eq!(
        cloud.merged(3),
        "log settled 1/train, tell 1/train Merged, waiting 0 of 2"
    );
    let stopped = "log ended Stopped, tell 1/train Merged, done 1, ended Stopped";
    assert_eq!(cloud.handle(RootEvent::Stop, 4), stopped);
    let mut cloud = Cloud::new();
    assert_eq!(
        cloud.handle(RootEvent::Stop, 1),
        "log ended Stopped, ended Stopped"
    );
}

#[test]
fn a_job_leads_above_the_jobs_before_it() {
    let mut cloud = Cloud::reading(&[submitted(spec())]);
    cloud.root.outrank(Epoch(7));
    cloud.root.outrank(Epoch(3));
    assert!(cloud.handle(RootEvent::Started, 0).starts_with("log led 8"));
    assert_eq!(cloud.root.epoch(), Epoch(8));
}

#[test]
fn a_log_begins_with_its_submission() {
    let led = LogEntry::Led {
        epoch: Epoch(1),
        at_us: 0,
    };
    for log in [vec![], vec![led.clone()], vec![led, submitted(spec())]] {
        let refused = RootRound::replay(LIMITS, &log).map(|_| ());
        assert_eq!(refused, Err(ReplayError::NoSubmission));
    }
}
