//! When a fog closes a phase, and how phases end.

use fl_model::{Digest, Epoch, Reason, RoundOutcome};
use fl_round::{FogEffect, FogEvent, FogLimits, FogRound, Millis, Restored, SettledRecord};

use crate::common::{
    TENSORS, admission, answer, contribution_key, device, devices, digest, job, key, outcome,
    phase, plan, region,
};
use crate::fog_admission::ordinary;

const LIMITS: FogLimits = FogLimits {
    silence_ms: 5_000,
    grace_ms: 300,
    settled_max: 2,
};

/// A fog, and what its shell would have kept.
pub(crate) struct Gateway {
    pub(crate) fog: FogRound,
    pub(crate) settled: Vec<SettledRecord>,
    pub(crate) partial: Option<fl_model::PartialSum>,
}

impl Gateway {
    /// Started at 0 with a roster of which everybody is connected.
    pub(crate) fn new(names: &str) -> Self {
        let mut gateway = Self::restored(None, Vec::new());
        gateway.handle(FogEvent::Roster(devices(names)), 0);
        for name in names.split_whitespace() {
            gateway.handle(FogEvent::Online(device(name), true), 0);
        }
        gateway
    }

    /// Started at 0 without a roster.
    pub(crate) fn restored(restored: Option<Restored>, settled: Vec<SettledRecord>) -> Self {
        Self {
            fog: FogRound::restore(region("r"), LIMITS, Epoch(1), restored, settled, 0),
            settled: Vec::new(),
            partial: None,
        }
    }

    /// Collecting for round 1 since 0.
    pub(crate) fn collecting(names: &str) -> Self {
        let mut gateway = Self::new(names);
        gateway.open("1/train", 0);
        gateway
    }

    pub(crate) fn open(&mut self, round: &str, now: Millis) {
        let ready = FogEvent::ObjectsReady(key(round), TENSORS.to_vec());
        self.check(&[
            (
                now,
                FogEvent::Plan(plan(round, 1)),
                &format!("fetch {round}"),
            ),
            (now, ready, &format!("broadcast {round}")),
        ]);
    }

    /// Closes round 1 at its deadline without those, and stores the partial.
    pub(crate) fn close(&mut self, without: &str, now: Millis) {
        let lines = self.handle(FogEvent::Timeout, now);
        let done = format!("done {without} deadline");
        assert!(
            lines.contains(&done) && lines.contains("close 1/train"),
            "{lines}"
        );
        let stored = FogEvent::PartialStored(key("1/train"), digest("partial"));
        self.check(&[(now, stored, "publish 1/train")]);
    }

    pub(crate) fn handle(&mut self, event: FogEvent, now: Millis) -> String {
        let effects = self.fog.handle(event, now);
        let lines: Vec<_> = effects
            .into_iter()
            .map(|effect| self.line(effect))
            .collect();
        lines.join(", ")
    }

    /// Feeds events at their times; each gives exactly those effects.
    pub(crate) fn check(&mut self, steps: &[(Millis, FogEvent, &str)]) {
        for (now, event, expected) in steps {
            assert_eq!(
                self.handle(event.clone(), *now),
                *expected,
                "{event:?} at {now}"
            );
        }
    }

    fn line(&mut self, effect: FogEffect) -> String {
        match effect {
            FogEffect::Fetch(plan) => format!("fetch {}", phase(&plan.key)),
            FogEffect::Broadcast(plan) => format!("broadcast {}", phase(&plan.key)),
            FogEffect::Persist(key) => format!("persist {}", phase(&key)),
            FogEffect::Receipt(key, of) => format!("receipt {} {}", key.device, admission(of)),
            FogEffect::Welcome(device, answers) => {
                let answers = answers.iter();
                let answers = answers.map(|(key, of)| format!("{} {}", phase(key), answer(of)));
                format!(
                    "welcome {device} [{}]",
                    answers.collect::<Vec<_>>().join(", ")
                )
            }
            FogEffect::DeviceDone(key, Ok(())) => format!("done {}", key.device),
            FogEffect::DeviceDone(key, Err(reason)) => format!("done {} {reason}", key.device),
            FogEffect::Close(partial) => {
                let names: Vec<_> = partial.contributors.iter().map(|d| d.as_str()).collect();
                let absent = partial.absent.iter();
                let absent: Vec<_> = absent
                    .map(|a| format!("{} {}", a.device, a.reason))
                    .collect();
                let of = phase(&partial.key);
                let line = format!("close {of} {names:?} without {absent:?}").replace('"', "");
                self.partial = Some(*partial);
                line
            }
            FogEffect::Publish(key) => format!("publish {}", phase(&key)),
            FogEffect::Settle(record) => {
                let outcomes = record.outcomes.iter();
                let outcomes = outcomes.map(|(device, &of)| format!("{device} {}", outcome(of)));
                let outcomes = outcomes.collect::<Vec<_>>().join(", ");
                let line = format!("settle {} [{outcomes}]", phase(&record.key));
                self.settled.push(record);
                line
            }
            FogEffect::StalePlan(key, epoch) => format!("stale {} below {epoch}", phase(&key)),
        }
    }
}

/// The root merged the phase, with that partial of this region's.
pub(crate) fn settled(round: &str, accepted: Option<&str>) -> FogEvent {
    FogEvent::Settled {
        key: key(round),
        outcome: RoundOutcome::Merged,
        accepted: accepted.map(digest),
        absent: None,
    }
}

#[test]
fn a_phase_closes_once_everybody_is_in_or_out() {
    let mut fog = Gateway::collecting("a b c");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (2, ordinary("b", "1/train"), ""),
        (
            3,
            FogEvent::Declined(contribution_key("c", "1/train"), Reason::Diverged),
            "done c diverged",
        ),
    ]);
    // Nothing is due while the snapshot is written but the others' silence.
    assert_eq!(
        fog.fog.next_timeout().map(|t| t.at),
        Some(1 + LIMITS.silence_ms)
    );
    fog.check(&[
        (
            4,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a, persist 1/train",
        ),
        (
            5,
            FogEvent::Persisted(key("1/train")),
            "receipt b admitted, done b, close 1/train [a, b] without [c diverged]",
        ),
        (
            6,
            FogEvent::PartialStored(key("1/train"), digest("p")),
            "publish 1/train",
        ),
        (7, FogEvent::PartialStored(key("1/train"), digest("p")), ""),
        (8, FogEvent::Plan(plan("1/train", 1)), ""),
    ]);
    let partial = fog.partial.unwrap();
    assert_eq!(partial.epoch, Epoch(1));
    assert_eq!(partial.edge_up_bytes, 20);
}

#[test]
fn the_deadline_ends_the_wait() {
    let mut fog = Gateway::collecting("a b");
    assert_eq!(fog.fog.next_timeout().map(|t| t.at), Some(1_000));
    fog.check(&[
        (999, FogEvent::Timeout, ""),
        (
            1_000,
            FogEvent::Timeout,
            "done a deadline, done b deadline, close 1/train [] without [a deadline, b deadline]",
        ),
    ]);
}

#[test]
fn nobody_waits_for_a_lost_device() {
    let mut fog = Gateway::collecting("a b");
    let lost = FogEvent::Online(device("b"), false);
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (
            2,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (
            3,
            lost.clone(),
            "done b disconnected, close 1/train [a] without [b disconnected]",
        ),
    ]);
    let mut fog = Gateway::collecting("a b");
    fog.check(&[
        (1, lost, ""),
        (2, ordinary("b", "1/train"), "persist 1/train"),
        (
            3,
            FogEvent::Persisted(key("1/train")),
            "receipt b admitted, done b",
        ),
    ]);
    assert_eq!(fog.fog.online(), 2);
}

#[test]
fn a_silent_device_counts_as_lost() {
    let mut fog = Gateway::new("a b");
    fog.check(&[(4_900, FogEvent::Beat(device("a")), "")]);
    fog.open("1/train", 4_900);
    assert_eq!(
        fog.fog.next_timeout().map(|t| t.at),
        Some(LIMITS.silence_ms)
    );
    fog.check(&[
        (4_950, ordinary("a", "1/train"), "persist 1/train"),
        (
            4_960,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (
            5_000,
            FogEvent::Timeout,
            "done b disconnected, close 1/train [a] without [b disconnected]",
        ),
    ]);
    assert_eq!(fog.fog.online(), 1);
}

#[test]
fn a_device_that_was_never_heard_is_waited_for_as_long_as_the_grace() {
    let mut fog = Gateway::restored(None, Vec::new());
    fog.open("1/train", 1);
    fog.check(&[
        // Without its roster the fog does not know for whom to wait.
        (2, FogEvent::Timeout, ""),
        (3, ordinary("a", "1/train"), ""),
        (4, FogEvent::Roster(devices("a b")), ""),
        (5, ordinary("a", "1/train"), "persist 1/train"),
        (
            6,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
    ]);
    assert_eq!(fog.fog.next_timeout().map(|t| t.at), Some(LIMITS.grace_ms));
    let closes = "done b disconnected, close 1/train [a] without [b disconnected]";
    fog.check(&[(300, FogEvent::Timeout, closes)]);
}

#[test]
fn the_record_says_what_counted() {
    let check = |event: FogEvent, expected: &str| {
        let mut fog = Gateway::collecting("a b");
        fog.handle(ordinary("a", "1/train"), 1);
        fog.handle(FogEvent::Persisted(key("1/train")), 2);
        fog.close("b", 1_000);
        fog.check(&[(1_001, event, expected)]);
        assert!(fog.fog.is_settled(&key("1/train")));
    };
    let event = |outcome, accepted: Option<Digest>, absent| FogEvent::Settled {
        key: key("1/train"),
        outcome,
        accepted,
        absent,
    };
    let merged = RoundOutcome::Merged;
    let excluded = |reason: &str| format!("settle 1/train [a excluded {reason}]");
    check(
        event(merged, Some(digest("partial")), None),
        "settle 1/train [a counted]",
    );
    check(
        event(merged, Some(digest("other")), None),
        &excluded("region_late"),
    );
    check(event(merged, None, None), &excluded("region_late"));
    check(
        event(merged, None, Some(Reason::FogSilent)),
        &excluded("fog_silent"),
    );
    let failed = RoundOutcome::NoQuorum;
    let partial = Some(digest("partial"));
    check(event(failed, partial, None), &excluded("no_quorum"));
    check(
        event(failed, None, Some(Reason::RegionLate)),
        &excluded("no_quorum"),
    );
    check(
        event(failed, partial, Some(Reason::JobEnded)),
        &excluded("job_ended"),
    );
}

#[test]
fn a_phase_that_settles_without_this_region_lets_its_devices_go() {
    let mut fog = Gateway::collecting("a b");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (
            2,
            settled("1/train", None),
            "settle 1/train [a excluded region_late]",
        ),
        (3, FogEvent::Persisted(key("1/train")), ""),
        (
            4,
            ordinary("b", "1/train"),
            "welcome b [1/train excluded late]",
        ),
        (5, settled("1/train", None), ""),
    ]);
}

#[test]
fn an_older_plan_is_not_followed() {
    let mut fog = Gateway::new("a");
    fog.open("2/train", 0);
    fog.check(&[
        (1, FogEvent::Plan(plan("1/evaluate", 1)), ""),
        (2, FogEvent::Plan(plan("3/train", 3)), "fetch 3/train"),
        (
            3,
            FogEvent::Plan(plan("4/train", 2)),
            "stale 4/train below 3",
        ),
        (4, settled("5/train", None), ""),
        (5, FogEvent::Plan(plan("5/train", 3)), ""),
        (6, FogEvent::Plan(plan("6/train", 3)), "fetch 6/train"),
    ]);
    assert_eq!(fog.fog.epoch(), Epoch(3));
}

#[test]
fn what_a_job_left_open_waits_for_its_settlement() {
    let mut fog = Gateway::collecting("a b");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (
            2,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (3, FogEvent::JobEnded(job("other")), ""),
        (4, FogEvent::JobEnded(job("j")), ""),
        (5, ordinary("b", "1/train"), "receipt b rejected stale"),
        (6, ordinary("a", "1/train"), "receipt a admitted"),
        (
            7,
            FogEvent::Settled {
                key: key("1/train"),
                outcome: RoundOutcome::NoQuorum,
                accepted: None,
                absent: Some(Reason::JobEnded),
            },
            "settle 1/train [a excluded job_ended]",
        ),
    ]);
}

#[test]
fn old_records_make_room() {
    let mut fog = Gateway::new("a");
    for round in ["1/train", "2/train", "3/train"] {
        fog.open(round, 0);
        fog.check(&[
            (1, ordinary("a", round), &format!("persist {round}")),
            (
                2,
                FogEvent::Persisted(key(round)),
                &format!("receipt a admitted, done a, close {round} [a] without []"),
            ),
            (
                3,
                FogEvent::PartialStored(key(round), digest(round)),
                &format!("publish {round}"),
            ),
            (
                4,
                settled(round, Some(round)),
                &format!("settle {round} [a counted]"),
            ),
        ]);
    }
    let hello = FogEvent::Hello(device("a"), vec![key("1/train"), key("2/train")]);
    fog.check(&[(5, hello, "welcome a [1/train unknown, 2/train counted]")]);
}
