//! Every tier is killed in the middle of a job and started again; the job finishes, counts nothing
//! twice, and every round's trace reads well.

use fl_telemetry::receiver::Receiver;
use xtask::demo::{CLOUD_ROOT, NATS_SERVER, RoundReport};
use xtask::processes::Fleet;

use crate::support::{Stage, assert_traces_are_clean, stations, stations_job};

const ROUNDS: u32 = 20;
const DEVICES: usize = 4;
/// The job's deadline. A round that waited it out would take at least as long.
const DEADLINE_S: f64 = 20.0;

/// After which round what is killed, and after which it is started again.
const FAULTS: [(&str, u32, u32); 4] = [
    ("agent-Aotizhongxin", 2, 5),
    ("fog-city-west", 8, 8),
    (NATS_SERVER, 11, 11),
    (CLOUD_ROOT, 14, 14),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_tier_is_killed_and_comes_back() {
    let receiver = Receiver::start().await.expect("a loopback port");
    let endpoint = receiver.endpoint();
    let run = move || {
        let mut stage = Stage::set(stations_job(ROUNDS, 1), stations(), Some(&endpoint));
        let course = stage.run(|federation, round| strike(&mut federation.fleet, round.round));
        for (name, ..) in FAULTS {
            assert_eq!(
                stage.federation.fleet.starts(name),
                2,
                "{name} was killed once"
            );
        }
        stage.end();
        (stage, course)
    };
    let (stage, course) = tokio::task::spawn_blocking(run)
        .await
        .expect("a federation");
    // A span that is told twice is told in the same bytes, or a collector shows two.
    assert_eq!(receiver.conflicts(), Vec::<String>::new());
    receiver.stop().await;

    assert_eq!(course.trained(), ROUNDS);
    for round in course.rounds() {
        assert_everybody_is_told_of(round);
        assert!(
            round.seconds < DEADLINE_S / 2.0,
            "waited out a deadline: {round:?}"
        );
    }
    let numbers: Vec<u32> = course.rounds().iter().map(|round| round.round).collect();
    let expected: Vec<u32> = (0..numbers.len() as u32).collect();
    assert_eq!(numbers, expected, "each round once, in order");
    let without = |device: &str| {
        let lacks = |round: &&RoundReport| {
            round
                .missing
                .iter()
                .any(|absence| absence.device.as_deref() == Some(device))
        };
        course.rounds().iter().filter(lacks).count()
    };
    assert!(
        without("Aotizhongxin") > 0,
        "a killed agent is missing until it is back"
    );
    let last = course.rounds().last().expect("rounds");
    assert_eq!(
        last.participants, DEVICES,
        "all are back at the end: {last:?}"
    );
    let failovers: u32 = course.rounds().iter().map(|round| round.failovers).sum();
    // A root that is killed just between two rounds takes over none.
    assert!(failovers <= 1, "the root was started again once");
    assert_traces_are_clean(&course, &stage.kept_spans());
}

fn strike(fleet: &mut Fleet, round: u32) {
    for (name, killed_after, started_after) in FAULTS {
        if round == killed_after {
            fleet.kill(name).expect("it runs");
        }
        if round == started_after {
            fleet.restart(name).expect("it was killed");
        }
    }
}

/// A device counts once, or is missing with a reason: the numbers add up to everybody.
fn assert_everybody_is_told_of(round: &RoundReport) {
    let mut missing = 0;
    for absence in &round.missing {
        assert!(!absence.reason.is_empty(), "{round:?}");
        missing += if absence.device.is_some() {
            1
        } else {
            DEVICES / 2
        };
    }
    // A device that is there for training and gone for evaluation is counted and told as missing.
    assert!(round.participants <= DEVICES, "{round:?}");
    assert!(round.participants + missing >= DEVICES, "{round:?}");
}
