//! Every tier is killed in the middle of a job of twelve devices and started again; the job finishes,
//! counts nothing twice, every round's trace reads well, and a dead device costs the others no time.
//!
//! That last claim is about durations, so this is the one test that asserts any: those that the root
//! measured itself, each held against the rounds just before it, in a program that runs alone.

use fl_telemetry::check::CollectedSpan;
use fl_view::RoundView;
use tributary_tests::{
    Collector, Stage, assert_traces_are_clean, of_trace, stations, stations_job,
};
use xtask::demo::{CLOUD_ROOT, Course, NATS_SERVER};
use xtask::processes::Fleet;

const ROUNDS: u32 = 40;
const DEVICES: u32 = 12;
const QUORUM: u32 = 8;
/// The job's deadline. A round that waited it out would take at least as long.
const DEADLINE_S: f64 = 20.0;

/// An agent of each region: after which round it is killed, and after which it is started again.
const AGENTS: [(&str, &str, u32, u32); 3] = [
    ("Aotizhongxin", "city-east", 5, 8),
    ("Guanyuan", "city-west", 13, 16),
    ("Huairou", "north-suburbs", 21, 24),
];
/// Rounds just before a kill that tell what a round takes; all devices are in them.
const BEFORE: u32 = 4;
/// Rounds after a kill that are held against them; the device is in none of them.
const AFTER: u32 = 3;
/// How much longer a round may take without a device that died.
const LONGER_MAX: f64 = 1.5;

/// The fog, killed for two rounds; then the bus and the root, each started again at once.
const FOG: (&str, &str, u32, u32) = ("fog-city-west", "city-west", 27, 29);
const SERVERS: [(&str, u32); 2] = [(NATS_SERVER, 33), (CLOUD_ROOT, 36)];

#[tokio::test(flavor = "multi_thread")]
async fn each_tier_is_killed_and_comes_back() {
    let _machine = crate::MACHINE.lock().await;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let run = move || {
        let job = stations_job(ROUNDS, QUORUM);
        let mut stage = Stage::set(job, stations(), Some(&endpoint));
        let course = stage.run(|federation, round| strike(&mut federation.fleet, round.round));
        stage.wait_for_empty_outboxes();
        stage.end();
        (stage, course)
    };
    let (stage, course) = tokio::task::spawn_blocking(run)
        .await
        .expect("a federation");
    let kept = stage.kept_spans();

    assert_all_finished(&course);
    let names = AGENTS.map(|(device, ..)| format!("agent-{device}"));
    let servers = SERVERS.map(|(name, _)| name.to_owned());
    for name in names.iter().chain(&servers).chain([&FOG.0.to_owned()]) {
        let starts = stage.federation.fleet.starts(name);
        assert_eq!(starts, 2, "{name} was killed once");
    }
    for (device, region, killed, started) in AGENTS {
        let hello = told_us(
            &stage,
            &format!("fog-{region}"),
            &format!("{device} says hello"),
        );
        let back = first_opened_after(&course, &kept, hello);
        assert!(
            back > started,
            "{device} said hello before it was started again"
        );
        assert_missing(&course, device, killed, started, back);
    }
    let runs = told_us(
        &stage,
        FOG.0,
        &format!("gateway {} of region {} runs", FOG.0, FOG.1),
    );
    let back = first_opened_after(&course, &kept, runs);
    assert_missing(&course, &format!("all of {}", FOG.1), FOG.2, FOG.3, back);
    assert_no_slower_without(&course);

    assert_traces_are_clean(&course, &kept);
    collector
        .assert_has(&course.trace_ids(), &kept, &stage.traces_file(), is_torn)
        .await;
}

/// Whether a fog or the root was killed in or just after that round, before it had sent all of its spans.
fn is_torn(round: usize) -> bool {
    let killed = SERVERS.map(|(_, killed)| killed).into_iter().chain([FOG.2]);
    let mut near = killed.flat_map(|killed| killed - 1..=killed + 1);
    near.any(|torn| torn as usize == round)
}

fn strike(fleet: &mut Fleet, round: u32) {
    let agents =
        AGENTS.map(|(device, _, killed, started)| (format!("agent-{device}"), killed, started));
    let servers = SERVERS.map(|(name, killed)| (name.to_owned(), killed, killed));
    let fog = (FOG.0.to_owned(), FOG.2, FOG.3);
    for (name, killed, started) in agents.into_iter().chain([fog]).chain(servers) {
        if round == killed {
            fleet.kill(&name).expect("it runs");
        }
        if round == started {
            fleet.restart(&name).expect("it was killed");
        }
    }
}

fn assert_all_finished(course: &Course) {
    let numbers: Vec<u32> = course.rounds().iter().map(|round| round.round).collect();
    assert_eq!(
        numbers,
        (0..=ROUNDS).collect::<Vec<_>>(),
        "each round once, in order"
    );
    assert_eq!(course.trained(), ROUNDS, "every round made a new model");
    for round in course.rounds() {
        assert_everybody_is_told_of(round);
        assert!(
            round.seconds < DEADLINE_S / 2.0,
            "waited out a deadline: {round:?}"
        );
    }
    let last = course.rounds().last().expect("rounds");
    assert_eq!(
        last.participants, DEVICES,
        "all are back at the end: {last:?}"
    );
    let failovers: u32 = course.rounds().iter().map(|round| round.failovers).sum();
    // A root that is killed just between two rounds takes over none.
    assert!(failovers <= 1, "the root was started again once");
}

/// A device counts once, or is missing with a reason: the numbers add up to everybody.
fn assert_everybody_is_told_of(round: &RoundView) {
    let mut missing = 0;
    for absence in &round.missing {
        assert!(!absence.reason.is_empty(), "{round:?}");
        missing += match absence.device {
            Some(_) => 1,
            None => DEVICES / AGENTS.len() as u32,
        };
    }
    // A device that is there for training and gone for evaluation is counted and told as missing.
    assert!(round.participants <= DEVICES, "{round:?}");
    assert!(round.participants + missing >= DEVICES, "{round:?}");
}

/// As the summary has it: `who` was missing in every round between its death and its new start, with a
/// reason, and in none from the round `back` on, the first that was opened after its return.
fn assert_missing(course: &Course, who: &str, killed: u32, started: u32, back: u32) {
    let missing = course.missing();
    let of = missing.iter().filter(|missing| missing.device == who);
    let rounds: Vec<u32> = of.map(|missing| missing.round).collect();
    for round in killed + 1..=started {
        assert!(
            rounds.contains(&round),
            "{who}, round {round}: missing in {rounds:?}"
        );
    }
    let within = |round: &u32| (killed + 1..back).contains(round);
    assert!(
        rounds.iter().all(within),
        "{who}, back by round {back}: missing in {rounds:?}"
    );
}

/// When the process last logged a line with these words [µs since 1970].
fn told_us(stage: &Stage, name: &str, words: &str) -> u64 {
    let log = stage.federation.fleet.log_path(name);
    let text = std::fs::read_to_string(log).expect("a log");
    let line = text.lines().rfind(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("{name} never says {words:?}:\n{text}"));
    let time = line.split_whitespace().next().expect("a time");
    wall_us(time).unwrap_or_else(|| panic!("no time in {line}"))
}

/// The first round that the root opened after that time.
fn first_opened_after(course: &Course, kept: &[CollectedSpan], time_us: u64) -> u32 {
    let opened = course.rounds().iter().find(|round| {
        let spans = of_trace(kept, &round.trace_id);
        let root = spans.iter().find(|span| span.parent.is_none());
        root.expect("a root span").start_us > time_us
    });
    opened.expect("a round after it").round
}

/// Held per round after a kill, over the three kills, so that one hiccup of the machine decides nothing.
fn assert_no_slower_without(course: &Course) {
    let seconds = |round: u32| course.rounds()[round as usize].seconds;
    for after in 1..=AFTER {
        let ratios = AGENTS.map(|(_, _, killed, _)| {
            let before: Vec<f64> = (killed + 1 - BEFORE..=killed).map(seconds).collect();
            seconds(killed + after) / median(&before)
        });
        println!("round {after} after a kill, against the median before: {ratios:.2?}");
        let all: Vec<f64> = course.rounds().iter().map(|round| round.seconds).collect();
        assert!(
            median(&ratios) <= LONGER_MAX,
            "{after} rounds after an agent was killed, rounds took {ratios:.2?} times as long as before; all: {all:.2?}"
        );
    }
}

/// The upper one of two in the middle.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// `2026-11-21T12:34:56.123456Z`, as a log line begins, in µs since 1970.
fn wall_us(time: &str) -> Option<u64> {
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, micros) = time.split_once('.')?;
    let mut clock = clock.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    // Days by the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros.parse::<u64>().ok()?)
}
