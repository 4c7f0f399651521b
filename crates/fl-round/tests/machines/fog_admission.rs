//! Who is let into a fog's sum, and what each device is told.

use fl_model::{Outcome, Payload, Reason};
use fl_round::FogEvent;

use crate::common::{
    TENSORS, WEIGHT_MAX, contribution, contribution_key, device, devices, digest, evaluation, key,
    plan, update,
};
use crate::fog_closing::{Gateway, settled};

/// One device's contribution with weight 1.
pub(crate) fn ordinary(device_name: &str, round: &str) -> FogEvent {
    offered(device_name, round, update(1, vec![1, 2]), "its bytes")
}

pub(crate) fn offered(device_name: &str, round: &str, payload: Payload, bytes: &str) -> FogEvent {
    FogEvent::Contribution {
        contribution: contribution(device_name, round, payload),
        digest: digest(bytes),
        bytes: 10,
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let check = |event: FogEvent, expected: &str| {
        let mut fog = Gateway::collecting("a b c");
        fog.check(&[(1, event, expected)]);
    };
    let payload = |payload| offered("a", "1/train", payload, "x");
    check(ordinary("a", "1/train"), "persist 1/train");
    check(ordinary("z", "1/train"), "receipt z rejected not_selected");
    check(ordinary("a", "0/train"), "receipt a rejected stale");
    check(ordinary("a", "2/train"), "receipt a rejected stale");
    let refused = |reason: &str| format!("receipt a rejected {reason}, done a {reason}");
    check(payload(update(0, vec![1, 2])), &refused("over_weight"));
    check(
        payload(update(WEIGHT_MAX + 1, vec![1, 2])),
        &refused("over_weight"),
    );
    check(payload(update(1, vec![1, 2, 3])), &refused("wrong_shape"));
    check(
        payload(update(1, vec![i32::MIN, 0])),
        &refused("not_finite"),
    );
    check(payload(evaluation()), &refused("foreign"));
    let damaged = FogEvent::Refused(contribution_key("a", "1/train"), Reason::BadDigest);
    check(damaged, &refused("bad_digest"));
    let declined = FogEvent::Declined(contribution_key("a", "1/train"), Reason::Diverged);
    check(declined, "done a diverged");
}

#[test]
fn who_was_refused_stays_out() {
    let mut fog = Gateway::collecting("a b");
    let declined = FogEvent::Declined(contribution_key("a", "1/train"), Reason::Diverged);
    fog.check(&[
        (1, declined.clone(), "done a diverged"),
        (2, declined, ""),
        (3, ordinary("a", "1/train"), "receipt a rejected diverged"),
        (4, ordinary("b", "1/train"), "persist 1/train"),
        (
            5,
            FogEvent::Persisted(key("1/train")),
            "receipt b admitted, done b, close 1/train [b] without [a diverged]",
        ),
    ]);
}

#[test]
fn the_quota_is_the_plans() {
    let mut fog = Gateway::collecting("a b c d e");
    for (now, name) in [(1, "a"), (2, "b"), (3, "c")] {
        fog.handle(ordinary(name, "1/train"), now);
    }
    let persisted = || FogEvent::Persisted(key("1/train"));
    fog.check(&[
        // While a place is not durable a kill may free it, so nobody is told that there is none.
        (4, ordinary("d", "1/train"), ""),
        (
            5,
            persisted(),
            "receipt a admitted, done a, persist 1/train",
        ),
        (6, ordinary("d", "1/train"), ""),
        (
            7,
            persisted(),
            "receipt b admitted, done b, receipt c admitted, done c",
        ),
        (
            8,
            ordinary("d", "1/train"),
            "receipt d rejected quota, done d quota",
        ),
    ]);
}

#[test]
fn one_snapshot_is_written_at_a_time_and_receipts_follow_it() {
    let mut fog = Gateway::collecting("a b c d");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (2, ordinary("b", "1/train"), ""),
        (3, ordinary("c", "1/train"), ""),
        (4, ordinary("a", "1/train"), ""),
        (
            5,
            FogEvent::Hello(device("a"), vec![key("1/train")]),
            "welcome a []",
        ),
    ]);
    let snapshot = fog.fog.snapshot().unwrap();
    assert_eq!(
        snapshot.partial.contributors,
        Vec::from_iter(devices("a b c"))
    );
    assert_eq!(snapshot.partial.edge_up_bytes, 40);
    fog.check(&[
        (
            6,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a, persist 1/train",
        ),
        (
            7,
            FogEvent::Persisted(key("1/train")),
            "receipt b admitted, done b, receipt c admitted, done c",
        ),
        (
            8,
            FogEvent::Hello(device("a"), vec![key("1/train")]),
            "welcome a [1/train admitted]",
        ),
        (9, FogEvent::Persisted(key("1/train")), ""),
    ]);
}

#[test]
fn a_device_that_is_in_the_sum_stays_in_it() {
    let damaged = || FogEvent::Refused(contribution_key("a", "1/train"), Reason::BadDigest);
    let other = || offered("a", "1/train", update(2, vec![1, 2]), "other bytes");
    let mut fog = Gateway::collecting("a b");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (2, damaged(), ""),
        (3, other(), "receipt a rejected duplicate"),
        (
            4,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (5, ordinary("a", "1/train"), "receipt a admitted"),
        (6, damaged(), "receipt a admitted"),
        (7, other(), "receipt a rejected duplicate"),
        (
            8,
            FogEvent::Declined(contribution_key("a", "1/train"), Reason::Diverged),
            "",
        ),
    ]);
    fog.close("b", 1_001);
    fog.check(&[
        (1_002, ordinary("a", "1/train"), "receipt a admitted"),
        (1_003, ordinary("b", "1/train"), "receipt b rejected late"),
        (
            1_004,
            settled("1/train", Some("partial")),
            "settle 1/train [a counted]",
        ),
        (
            1_005,
            ordinary("a", "1/train"),
            "welcome a [1/train counted]",
        ),
        (1_006, damaged(), "welcome a [1/train counted]"),
        (
            1_007,
            ordinary("b", "1/train"),
            "welcome b [1/train excluded late]",
        ),
    ]);
}

#[test]
fn what_comes_before_the_model_is_sent_again() {
    let mut fog = Gateway::new("a b");
    fog.check(&[
        (0, ordinary("a", "1/train"), ""),
        (1, FogEvent::Plan(plan("1/train", 1)), "fetch 1/train"),
        (2, ordinary("a", "1/train"), ""),
        (
            3,
            FogEvent::Hello(device("a"), vec![key("1/train"), key("0/statistics")]),
            "welcome a [1/train send again, 0/statistics unknown]",
        ),
        (
            4,
            FogEvent::ObjectsReady(key("1/train"), TENSORS.to_vec()),
            "broadcast 1/train",
        ),
        (5, ordinary("a", "1/train"), "persist 1/train"),
    ]);
}

#[test]
fn a_hello_is_answered_for_each_key() {
    let mut fog = Gateway::collecting("a b c");
    fog.check(&[
        (1, ordinary("a", "1/train"), "persist 1/train"),
        (
            2,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (
            3,
            FogEvent::Declined(contribution_key("b", "1/train"), Reason::DataUnusable),
            "done b data_unusable",
        ),
    ]);
    let hello = |name: &str| FogEvent::Hello(device(name), vec![key("1/train")]);
    fog.check(&[
        (4, hello("a"), "welcome a [1/train admitted]"),
        (5, hello("b"), "welcome b [1/train rejected data_unusable]"),
        (6, hello("c"), "welcome c [1/train send again]"),
    ]);
    fog.close("c", 1_001);
    fog.check(&[
        (1_002, hello("a"), "welcome a [1/train admitted]"),
        (1_003, hello("c"), "welcome c [1/train rejected late]"),
    ]);
    let late = FogEvent::Settled {
        key: key("1/train"),
        outcome: fl_model::RoundOutcome::Merged,
        accepted: None,
        absent: Some(Reason::FogSilent),
    };
    fog.check(&[
        (1_004, late, "settle 1/train [a excluded fog_silent]"),
        (1_005, hello("a"), "welcome a [1/train excluded fog_silent]"),
        (1_006, hello("c"), "welcome c [1/train excluded late]"),
    ]);
    let record = fog.settled.pop().unwrap();
    let silent = Outcome::Excluded(Reason::FogSilent);
    assert_eq!(record.outcomes[&device("a")], silent);
}

#[test]
fn an_announcement_is_answered_as_its_bytes_would_be() {
    let announced = |name: &str, round: &str, bytes: &str| {
        FogEvent::Announced(contribution_key(name, round), digest(bytes))
    };
    let mut fog = Gateway::collecting("a b");
    let of = |name: &str| (contribution_key(name, "1/train"), digest("its bytes"));
    let awaits = |fog: &Gateway, name: &str| fog.fog.awaits(&of(name).0, of(name).1);
    assert!(awaits(&fog, "a") && !awaits(&fog, "z"));
    fog.check(&[
        (1, announced("a", "1/train", "its bytes"), ""),
        (
            1,
            announced("a", "0/train", "x"),
            "receipt a rejected stale",
        ),
        (
            1,
            announced("z", "1/train", "x"),
            "receipt z rejected not_selected",
        ),
        (2, ordinary("a", "1/train"), "persist 1/train"),
        (3, announced("a", "1/train", "its bytes"), ""),
    ]);
    assert!(!awaits(&fog, "a"), "it is on its way to the disk");
    fog.check(&[
        (
            4,
            FogEvent::Persisted(key("1/train")),
            "receipt a admitted, done a",
        ),
        (
            5,
            announced("a", "1/train", "its bytes"),
            "receipt a admitted",
        ),
        (
            6,
            announced("a", "1/train", "x"),
            "receipt a rejected duplicate",
        ),
    ]);
}
