//! What a fog makes of its disk.

use std::collections::BTreeMap;

use fl_model::{Absence, Outcome, Reason};
use fl_round::{FogEvent, Restored, SettledRecord};

use crate::common::{
    TENSORS, contribution_key, device, devices, digest, evaluation, key, partial, plan, update,
};
use crate::fog_admission::{offered, ordinary};
use crate::fog_closing::{Gateway, settled};

/// `a` is in the sum of round 1; `b` was refused and `c` lost before the kill.
fn snapshot(closed: bool) -> Restored {
    let absence = |name, reason| Absence {
        device: device(name),
        reason,
    };
    let mut partial = partial(&plan("1/train", 1), "r", "a");
    partial.absent = vec![
        absence("b", Reason::OverWeight),
        absence("c", Reason::Disconnected),
    ];
    partial.edge_up_bytes = 7;
    Restored {
        partial,
        admitted: BTreeMap::from([(device("a"), digest("its bytes"))]),
        closed: closed.then(|| digest("partial")),
    }
}

fn objects(round: &str) -> FogEvent {
    FogEvent::ObjectsReady(key(round), TENSORS.to_vec())
}

fn hello(name: &str) -> FogEvent {
    FogEvent::Hello(device(name), vec![key("1/train")])
}

#[test]
fn a_restored_phase_goes_on_where_it_was() {
    let mut fog = Gateway::restored(Some(snapshot(false)), Vec::new());
    fog.check(&[
        // Neither roster nor plan are here: who is in the sum is in it all the same.
        (0, ordinary("a", "1/train"), "receipt a admitted"),
        (1, hello("a"), "welcome a [1/train admitted]"),
        (2, ordinary("c", "1/train"), ""),
        (3, FogEvent::Roster(devices("a b c")), ""),
        (4, hello("c"), "welcome c [1/train send again]"),
        (5, ordinary("c", "1/train"), ""),
        (
            6,
            offered("a", "1/train", update(1, vec![0, 0]), "other"),
            "receipt a rejected duplicate",
        ),
        (7, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (8, ordinary("a", "1/train"), "receipt a admitted"),
        (9, objects("1/train"), "broadcast 1/train, done a"),
        (10, ordinary("a", "1/train"), "receipt a admitted"),
        (
            11,
            ordinary("b", "1/train"),
            "receipt b rejected over_weight",
        ),
        (12, ordinary("c", "1/train"), "persist 1/train"),
        (
            13,
            FogEvent::Persisted(key("1/train")),
            "receipt c admitted, done c, close 1/train [a, c] without [b over_weight]",
        ),
    ]);
    let both = partial(&plan("1/train", 1), "r", "a c");
    let closed = fog.partial.unwrap();
    assert_eq!(closed.sum, both.sum);
    assert!(closed.edge_up_bytes > 7);
}

#[test]
fn who_is_refused_before_the_model_is_there_stays_out() {
    let refused = |name| FogEvent::Refused(contribution_key(name, "1/train"), Reason::BadDigest);
    let mut fog = Gateway::restored(Some(snapshot(false)), Vec::new());
    fog.check(&[
        (0, FogEvent::Roster(devices("a b c d")), ""),
        // Not noted before the plan is there, so not answered.
        (1, refused("d"), ""),
        (2, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (3, refused("a"), "receipt a admitted"),
        (
            3,
            FogEvent::Declined(contribution_key("a", "1/train"), Reason::Diverged),
            "",
        ),
        (
            4,
            refused("d"),
            "receipt d rejected bad_digest, done d bad_digest",
        ),
        (5, objects("1/train"), "broadcast 1/train, done a"),
        (6, ordinary("d", "1/train"), "receipt d rejected bad_digest"),
        (
            7,
            ordinary("b", "1/train"),
            "receipt b rejected over_weight",
        ),
        (8, ordinary("c", "1/train"), "persist 1/train"),
    ]);
}

#[test]
fn a_closed_phase_is_published_again() {
    let mut fog = Gateway::restored(Some(snapshot(true)), Vec::new());
    fog.check(&[
        (0, FogEvent::Roster(devices("a b c")), ""),
        (1, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (2, objects("1/train"), "publish 1/train"),
        (3, ordinary("c", "1/train"), "receipt c rejected late"),
        (
            4,
            settled("1/train", Some("partial")),
            "settle 1/train [a counted]",
        ),
    ]);
}

#[test]
fn a_phase_that_settled_meanwhile_is_settled() {
    let check = |closed, accepted, expected: &str| {
        let mut fog = Gateway::restored(Some(snapshot(closed)), Vec::new());
        fog.check(&[
            (0, FogEvent::Roster(devices("a")), ""),
            (1, settled("1/train", accepted), expected),
            (2, FogEvent::Plan(plan("1/train", 1)), ""),
            (3, FogEvent::Plan(plan("1/evaluate", 1)), "fetch 1/evaluate"),
        ]);
        let mut fog = Gateway::restored(Some(snapshot(closed)), Vec::new());
        fog.check(&[
            (0, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
            (1, settled("1/train", accepted), expected),
            (2, objects("1/train"), ""),
        ]);
    };
    check(true, Some("partial"), "settle 1/train [a counted]");
    check(true, None, "settle 1/train [a excluded region_late]");
    check(false, None, "settle 1/train [a excluded region_late]");
}

#[test]
fn the_settlement_of_a_phase_that_another_followed_is_not_lost() {
    let mut fog = Gateway::restored(Some(snapshot(true)), Vec::new());
    fog.check(&[
        (0, FogEvent::Roster(devices("a b")), ""),
        (1, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (2, objects("1/train"), "publish 1/train"),
        (3, FogEvent::Plan(plan("1/evaluate", 1)), "fetch 1/evaluate"),
        (4, hello("a"), "welcome a [1/train admitted]"),
        (
            5,
            settled("1/train", Some("partial")),
            "settle 1/train [a counted]",
        ),
        (6, hello("a"), "welcome a [1/train counted]"),
    ]);
}

#[test]
fn a_snapshot_that_was_settled_is_left_aside() {
    let record = SettledRecord {
        key: key("1/train"),
        outcomes: BTreeMap::from([(device("a"), Outcome::Counted)]),
    };
    let mut fog = Gateway::restored(Some(snapshot(true)), vec![record]);
    fog.check(&[
        (0, hello("a"), "welcome a [1/train counted]"),
        (1, FogEvent::Plan(plan("1/train", 1)), ""),
        (2, settled("1/train", None), ""),
        (3, ordinary("a", "1/train"), "welcome a [1/train counted]"),
    ]);
}

#[test]
fn a_snapshot_of_another_shape_is_left_aside() {
    let mut other = snapshot(false);
    let mut evaluate = plan("1/train", 1);
    evaluate.work = fl_model::Work::Evaluate(fl_model::EvaluateWork {
        loss: fl_model::Loss::MeanSquaredError,
        normalization: crate::common::normalization(),
    });
    other.partial.sum = partial(&evaluate, "r", "a").sum;
    let mut fog = Gateway::restored(Some(other), Vec::new());
    fog.check(&[
        (0, FogEvent::Roster(devices("a b")), ""),
        (1, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (2, objects("1/train"), "broadcast 1/train"),
        (3, hello("a"), "welcome a [1/train send again]"),
        (
            4,
            offered("a", "1/train", evaluation(), "x"),
            "receipt a rejected foreign, done a foreign",
        ),
        (5, ordinary("b", "1/train"), "persist 1/train"),
    ]);
}
