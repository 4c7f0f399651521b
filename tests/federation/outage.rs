//! A minute without the bus, and without the broker of one region, in the middle of a federation.

use std::time::{Duration, Instant};

use tributary_tests::{PATIENCE, Stage, assert_traces_are_clean, hospitals, hospitals_job};
use xtask::demo::{Federation, NATS_SERVER};

const ROUNDS: u32 = 8;
/// After this round the bus and a fog, with its embedded broker, go away.
const STRUCK_AFTER: u32 = 3;
const AWAY: Duration = Duration::from_secs(60);
const FOG: &str = "fog-us";
/// Two of the hospitals are in each region; Switzerland, with one class, never takes part.
const DEVICES: u32 = 3;

#[test]
fn minute_without_bus_and_broker_loses_nothing() {
    let mut stage = Stage::set(hospitals_job(ROUNDS, 1), hospitals(), None);
    let course = stage.run(|federation, round| {
        if round.round == STRUCK_AFTER {
            be_away(federation);
        }
    });
    stage.wait_for_empty_outboxes();
    stage.end();

    let numbers: Vec<u32> = course.rounds().iter().map(|round| round.round).collect();
    let all: Vec<u32> = (0..=ROUNDS).collect();
    assert_eq!(numbers, all, "none was lost or done again");
    assert_eq!(course.trained(), ROUNDS, "as many rounds as were asked for");
    for round in course.rounds() {
        assert_eq!(round.outcome, "merged", "{round:?}");
        let within = round.round == STRUCK_AFTER + 1;
        assert!(within || round.participants == DEVICES, "{round:?}");
        let told = |absence: &fl_view::Missing| !absence.reason.is_empty();
        assert!(round.missing.iter().all(told), "{round:?}");
    }
    assert_traces_are_clean(&course, &stage.kept_spans());
}

/// Takes bus and fog away for a minute. Everybody else stays up, says what is missing, and waits.
fn be_away(federation: &mut Federation) {
    let fleet = &mut federation.fleet;
    for name in [NATS_SERVER, FOG] {
        fleet.kill(name).expect("it runs");
    }
    let since = Instant::now();
    for (name, words) in [
        ("cloud-root", "nats at"),
        ("fog-europe", "nats at"),
        ("agent-cleveland", "mqtt broker at"),
    ] {
        let told = |line: &str| (line.contains(words) && line.contains("is away")).then_some(());
        fleet
            .wait_for_line(name, PATIENCE, told)
            .expect("it says what is away");
    }
    while since.elapsed() < AWAY {
        let failed = fleet.first_failed();
        assert!(failed.is_none(), "{}", failed.expect("just seen"));
        std::thread::sleep(tributary_tests::LOOK_AGAIN);
    }
    for name in [NATS_SERVER, FOG] {
        fleet.restart(name).expect("it was killed");
    }
}
