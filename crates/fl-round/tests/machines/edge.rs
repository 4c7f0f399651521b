//! The device's machine.

use fl_model::{Admission, Epoch, Outcome, Reason};
use fl_round::{Answer, EdgeEffect, EdgeEvent, EdgeRound, Millis};

use crate::common::{job, key, outcome, phase, plan};

const RESEND_MS: Millis = 100;
const PATIENCE_MS: Millis = 800;

fn line(effect: EdgeEffect) -> String {
    match effect {
        EdgeEffect::Hello(held) => {
            let held: Vec<_> = held.iter().map(phase).collect();
            format!("hello [{}]", held.join(" "))
        }
        EdgeEffect::SaveEpoch(epoch) => format!("epoch {epoch}"),
        EdgeEffect::Fetch(plan) => format!("fetch {}", phase(&plan.key)),
        EdgeEffect::Work(plan) => format!("work {}", phase(&plan.key)),
        EdgeEffect::Cancel(key) => format!("cancel {}", phase(&key)),
        EdgeEffect::Send(key) => format!("send {}", phase(&key)),
        EdgeEffect::Decline(key, reason) => format!("decline {} {reason}", phase(&key)),
        EdgeEffect::Forget(key, of) => format!("forget {} {}", phase(&key), outcome(of)),
        EdgeEffect::StalePlan(key, epoch) => format!("stale {} below {epoch}", phase(&key)),
    }
}

fn restored(epoch: u64, last: Option<&str>, outbox: &[&str]) -> EdgeRound {
    let outbox = outbox.iter().map(|text| key(text)).collect();
    EdgeRound::restore(Epoch(epoch), last.map(key), outbox, RESEND_MS)
}

/// Feeds events at their times; each gives exactly those effects.
fn check(edge: &mut EdgeRound, steps: &[(Millis, EdgeEvent, &str)]) {
    for (now, event, expected) in steps {
        let effects = edge.handle(event.clone(), *now).into_iter().map(line);
        let got = effects.collect::<Vec<_>>().join(", ");
        assert_eq!(got, *expected, "{event:?} at {now}");
    }
}

fn with_plan(round: &str) -> EdgeRound {
    let mut edge = restored(1, None, &[]);
    let fetch = format!("fetch {round}");
    check(
        &mut edge,
        &[
            (0, EdgeEvent::Connected, "hello []"),
            (0, EdgeEvent::Plan(plan(round, 1)), &fetch),
        ],
    );
    edge
}

fn with_sent(round: &str) -> EdgeRound {
    let mut edge = with_plan(round);
    check(
        &mut edge,
        &[
            (
                1,
                EdgeEvent::ObjectsReady(key(round)),
                &format!("work {round}"),
            ),
            (2, EdgeEvent::Stored(key(round)), &format!("send {round}")),
        ],
    );
    edge
}

#[test]
fn a_contribution_is_made_sent_and_forgotten() {
    let mut edge = with_sent("1/train");
    assert_eq!(edge.outstanding(), [key("1/train")]);
    check(
        &mut edge,
        &[
            (
                3,
                EdgeEvent::Receipt(key("1/train"), Admission::Admitted),
                "",
            ),
            (4, EdgeEvent::Plan(plan("1/train", 1)), ""),
            (
                5,
                EdgeEvent::Settled(key("1/train"), Outcome::Counted),
                "forget 1/train counted",
            ),
            (6, EdgeEvent::Settled(key("1/train"), Outcome::Counted), ""),
            (
                7,
                EdgeEvent::Plan(plan("1/evaluate", 2)),
                "epoch 2, fetch 1/evaluate",
            ),
        ],
    );
    assert_eq!(edge.outstanding(), []);
    assert_eq!(edge.last(), Some(&key("1/train")));
}

#[test]
fn an_unanswered_contribution_is_sent_again_and_an_admitted_one_asked_about() {
    let mut edge = with_sent("1/train");
    let at = |edge: &EdgeRound| edge.next_timeout().map(|timeout| timeout.at);
    assert_eq!(at(&edge), Some(2 + RESEND_MS));
    check(
        &mut edge,
        &[
            (101, EdgeEvent::Timeout, ""),
            (102, EdgeEvent::Timeout, "send 1/train"),
            (110, EdgeEvent::Disconnected, ""),
            (300, EdgeEvent::Timeout, ""),
        ],
    );
    assert_eq!(at(&edge), None);
    check(&mut edge, &[(400, EdgeEvent::Connected, "hello [1/train]")]);
    assert_eq!(at(&edge), Some(400 + RESEND_MS));
    check(
        &mut edge,
        &[(
            450,
            EdgeEvent::Receipt(key("1/train"), Admission::Admitted),
            "",
        )],
    );
    assert_eq!(at(&edge), Some(450 + PATIENCE_MS));
    check(&mut edge, &[(1_250, EdgeEvent::Timeout, "hello [1/train]")]);
    assert_eq!(at(&edge), Some(1_250 + PATIENCE_MS));
}

#[test]
fn a_welcome_says_what_becomes_of_each() {
    let check_answer = |answer, expected: &str| {
        let mut edge = restored(1, None, &["1/train"]);
        let welcome = EdgeEvent::Welcome(vec![(key("1/train"), answer), (key("9/train"), answer)]);
        check(
            &mut edge,
            &[
                (0, EdgeEvent::Connected, "hello [1/train]"),
                (1, welcome, expected),
            ],
        );
    };
    check_answer(Answer::Admitted, "");
    check_answer(Answer::SendAgain, "send 1/train");
    check_answer(
        Answer::Rejected(Reason::Late),
        "forget 1/train excluded late",
    );
    check_answer(Answer::Unknown, "forget 1/train excluded stale");
    check_answer(Answer::Settled(Outcome::Counted), "forget 1/train counted");
    let excluded = Outcome::Excluded(Reason::NoQuorum);
    check_answer(
        Answer::Settled(excluded),
        "forget 1/train excluded no_quorum",
    );
}

#[test]
fn a_newer_plan_takes_the_place_of_an_older_one_and_never_the_reverse() {
    let mut edge = with_plan("2/train");
    check(
        &mut edge,
        &[
            (1, EdgeEvent::Plan(plan("1/evaluate", 1)), ""),
            (2, EdgeEvent::Plan(plan("2/train", 1)), ""),
            (
                3,
                EdgeEvent::Plan(plan("3/train", 1)),
                "cancel 2/train, fetch 3/train",
            ),
            (4, EdgeEvent::ObjectsReady(key("2/train")), ""),
            (
                5,
                EdgeEvent::Plan(plan("4/train", 3)),
                "epoch 3, cancel 3/train, fetch 4/train",
            ),
            (
                6,
                EdgeEvent::Plan(plan("5/train", 2)),
                "stale 5/train below 3",
            ),
            (7, EdgeEvent::PlanCleared(job("other")), ""),
            (8, EdgeEvent::PlanCleared(job("j")), "cancel 4/train"),
            (9, EdgeEvent::ObjectsReady(key("4/train")), ""),
            // What was ready when the plan was taken back is offered all the same.
            (10, EdgeEvent::Stored(key("4/train")), "send 4/train"),
        ],
    );
}

#[test]
fn a_stored_contribution_is_never_made_again() {
    let mut edge = restored(1, None, &["1/train"]);
    check(
        &mut edge,
        &[
            (0, EdgeEvent::Plan(plan("1/train", 1)), ""),
            (1, EdgeEvent::Connected, "hello [1/train]"),
            (2, EdgeEvent::Plan(plan("1/train", 1)), "send 1/train"),
            (3, EdgeEvent::ObjectsReady(key("1/train")), ""),
        ],
    );
    // Made for a plan that was taken back and came again.
    let mut edge = with_plan("1/train");
    check(
        &mut edge,
        &[
            (1, EdgeEvent::Stored(key("1/train")), "send 1/train"),
            (2, EdgeEvent::ObjectsReady(key("1/train")), ""),
            (
                3,
                EdgeEvent::Receipt(key("1/train"), Admission::Admitted),
                "",
            ),
            (4, EdgeEvent::Stored(key("1/train")), ""),
        ],
    );
}

/// A fog that starts anew may miss what was said while it started; nobody answers a refusal.
#[test]
fn a_refusal_is_said_again_until_its_plan_goes() {
    let mut edge = with_plan("1/train");
    let declined = "decline 1/train diverged";
    check(
        &mut edge,
        &[
            (
                1,
                EdgeEvent::Failed(key("1/train"), Reason::Diverged),
                declined,
            ),
            (2, EdgeEvent::Welcome(Vec::new()), declined),
        ],
    );
    let again = edge.next_timeout().map(|timeout| timeout.at).unwrap();
    check(
        &mut edge,
        &[
            (again - 1, EdgeEvent::Timeout, ""),
            (again, EdgeEvent::Timeout, declined),
        ],
    );
    assert!(
        edge.next_timeout()
            .is_some_and(|timeout| timeout.at > again)
    );
    edge.handle(EdgeEvent::Plan(plan("2/train", 1)), again + 1);
    assert_eq!(edge.next_timeout(), None);
}

#[test]
fn what_cannot_be_made_is_declined_as_often_as_it_is_asked_for() {
    let mut edge = with_plan("1/train");
    check(
        &mut edge,
        &[
            (
                1,
                EdgeEvent::Failed(key("1/train"), Reason::Diverged),
                "decline 1/train diverged",
            ),
            (
                2,
                EdgeEvent::Plan(plan("1/train", 1)),
                "decline 1/train diverged",
            ),
            (3, EdgeEvent::Failed(key("9/train"), Reason::Diverged), ""),
        ],
    );
    let rejected = Admission::Rejected(Reason::OverWeight);
    let mut edge = with_sent("1/train");
    check(
        &mut edge,
        &[
            (
                3,
                EdgeEvent::Receipt(key("1/train"), rejected),
                "forget 1/train excluded over_weight",
            ),
            (
                4,
                EdgeEvent::Plan(plan("1/train", 1)),
                "decline 1/train stale",
            ),
        ],
    );
    let mut edge = restored(1, Some("2/train"), &[]);
    check(
        &mut edge,
        &[
            (0, EdgeEvent::Plan(plan("2/train", 1)), ""),
            (1, EdgeEvent::Connected, "hello []"),
            (
                2,
                EdgeEvent::Plan(plan("2/train", 1)),
                "decline 2/train stale",
            ),
            (3, EdgeEvent::Plan(plan("1/train", 1)), ""),
            (
                4,
                EdgeEvent::Plan(plan("2/evaluate", 1)),
                "fetch 2/evaluate",
            ),
        ],
    );
    assert_eq!(edge.working_on(), Some(&key("2/evaluate")));
}

#[test]
fn the_newest_phase_that_is_over_stays_the_newest() {
    let mut edge = restored(1, None, &["1/train", "2/train"]);
    let counted = |round| EdgeEvent::Settled(key(round), Outcome::Counted);
    check(
        &mut edge,
        &[
            (0, counted("2/train"), "forget 2/train counted"),
            (1, counted("1/train"), "forget 1/train counted"),
        ],
    );
    assert_eq!(edge.last(), Some(&key("2/train")));
}

#[test]
fn what_is_admitted_is_not_excluded_by_a_refusal_of_later_bytes() {
    let mut edge = with_sent("1/train");
    let late = Admission::Rejected(Reason::Oversized);
    let answers = vec![(key("1/train"), Answer::Rejected(Reason::Late))];
    check(
        &mut edge,
        &[
            (
                3,
                EdgeEvent::Receipt(key("1/train"), Admission::Admitted),
                "",
            ),
            (4, EdgeEvent::Receipt(key("1/train"), late), ""),
            // A fog that lost its sum says so when it is asked.
            (
                5,
                EdgeEvent::Welcome(answers),
                "forget 1/train excluded late",
            ),
        ],
    );
}
