//! Single federations, each with one thing that goes wrong.

use fl_model::{LogEntry, RoundOutcome};
use fl_sim::{Broker, Fault, ProcessId, Report, Scenario, World, device_id, region_id};

fn run(scenario: &Scenario) -> Report {
    let (result, story) = World::told(scenario);
    result.unwrap_or_else(|violation| panic!("{}\n{violation}", story.join("\n")))
}

/// The phases that the log closed, and how.
fn phases(report: &Report) -> Vec<String> {
    let phase = |entry: &LogEntry| match entry {
        LogEntry::Closed { key, outcome, .. } => Some(match outcome {
            RoundOutcome::Merged => format!("{}/{}", key.round, key.phase),
            RoundOutcome::NoQuorum => format!("{}/{} without quorum", key.round, key.phase),
        }),
        _ => None,
    };
    report.log.iter().filter_map(phase).collect()
}

/// The epochs in which roots led.
fn epochs(report: &Report) -> Vec<u64> {
    let epoch = |entry: &LogEntry| match entry {
        LogEntry::Led { epoch, .. } => Some(epoch.0),
        _ => None,
    };
    report.log.iter().filter_map(epoch).collect()
}

/// Devices in each phase's sum.
fn contributors(report: &Report) -> Vec<u32> {
    let mut sums = Vec::new();
    for entry in &report.log {
        match entry {
            LogEntry::Opened { .. } => sums.push(0),
            LogEntry::PartialAccepted { summary, .. } => {
                let sum = sums.last_mut().expect("a partial follows an opening");
                *sum += summary.contributors;
            }
            _ => {}
        }
    }
    sums
}

fn kill(process: ProcessId, down_ms: impl Into<Option<u64>>) -> Fault {
    Fault::Kill {
        process,
        after_effects: 0,
        down_ms: down_ms.into(),
    }
}

#[test]
fn three_rounds_survive_a_kill_of_every_tier() {
    let mut scenario = Scenario::calm(1, 2, 3, 3);
    scenario.faults = vec![
        (1_300, kill(ProcessId::Device(device_id(0, 1)), 300)),
        (2_300, kill(ProcessId::Fog(region_id(1)), 300)),
        (3_300, kill(ProcessId::Root(0), 300)),
    ];
    scenario.healed_ms = 4_000;
    let report = run(&scenario);
    let expected = [
        "0/statistics",
        "1/train",
        "1/evaluate",
        "2/train",
        "2/evaluate",
        "3/train",
        "3/evaluate",
    ];
    assert_eq!(phases(&report), expected);
    assert_eq!(epochs(&report), [1, 2]);
    assert_eq!(contributors(&report), [6; 7]);
    let again = run(&scenario);
    assert_eq!(again.log, report.log);
    assert_eq!(again.parameters, report.parameters);
}

#[test]
fn a_dead_device_costs_one_silence_and_no_deadline() {
    for broker in [Broker::Embedded, Broker::External] {
        let mut scenario = Scenario::calm(2, 2, 3, 6);
        scenario.broker = broker;
        scenario.faults = vec![(2_000, kill(ProcessId::Device(device_id(1, 2)), None))];
        scenario.healed_ms = 2_100;
        let mut alive = scenario.clone();
        alive.faults.clear();
        let longest = run(&alive).phases_ms.into_iter().max().unwrap();
        let report = run(&scenario);
        let deadline_ms = u64::from(Scenario::DEADLINE_MS);
        assert!(report.phases_ms.iter().all(|&ms| ms < deadline_ms));
        let later = &report.phases_ms[4..];
        let short = later.iter().all(|&ms| ms <= longest * 3 / 2);
        assert!(short, "{longest} {later:?}");
        assert_eq!(contributors(&report)[4..], [5; 9]);
    }
}

#[test]
fn a_dead_fog_costs_its_region() {
    let mut scenario = Scenario::calm(3, 3, 2, 4);
    scenario.faults = vec![(2_000, kill(ProcessId::Fog(region_id(0)), None))];
    scenario.healed_ms = 2_100;
    let report = run(&scenario);
    assert_eq!(contributors(&report)[4..], [4; 5]);
    assert!(
        phases(&report)
            .iter()
            .all(|phase| !phase.contains("without"))
    );
}

#[test]
fn the_root_that_was_replaced_writes_nothing_more() {
    let mut scenario = Scenario::calm(4, 2, 2, 3);
    scenario.faults = vec![
        (1_500, Fault::Pause(ProcessId::Root(0), 2_000)),
        (1_600, Fault::StartRoot(1)),
    ];
    scenario.healed_ms = 6_000;
    let report = run(&scenario);
    assert_eq!(epochs(&report)[..2], [1, 2]);
    assert_eq!(phases(&report).len(), 7);
}

#[test]
fn a_round_without_quorum_is_tried_again() {
    let mut scenario = Scenario::calm(5, 1, 3, 2);
    scenario.quorum = 3;
    scenario.faults = vec![(1_300, kill(ProcessId::Device(device_id(0, 0)), 4_000))];
    scenario.healed_ms = 5_400;
    let report = run(&scenario);
    let closed = phases(&report);
    let failed = closed.iter().filter(|phase| phase.contains("without"));
    assert!(failed.count() >= 1, "{closed:?}");
    assert!(contributors(&report).ends_with(&[3, 3]), "{closed:?}");
}

#[test]
fn a_stopped_job_leaves_nothing_behind() {
    for at in (700..3_500).step_by(100) {
        let mut scenario = Scenario::calm(6, 2, 2, 3);
        scenario.faults = vec![(at, Fault::Stop)];
        scenario.healed_ms = at + 1;
        let report = run(&scenario);
        assert!(report.ended_ms < at + 2_000, "{}", report.ended_ms);
    }
}

/// Every process is killed once after each effect that it ever carries out.
#[test]
fn a_kill_between_any_two_effects_costs_no_round() {
    for broker in [Broker::Embedded, Broker::External] {
        let mut scenario = Scenario::calm(7, 2, 2, 2);
        scenario.broker = broker;
        let faultless = run(&scenario);
        scenario.healed_ms = faultless.ended_ms + 2_000;
        for (process, &effects) in &faultless.effects {
            for after_effects in 1..=effects {
                let process = process.clone();
                scenario.faults = vec![(
                    0,
                    Fault::Kill {
                        process,
                        after_effects,
                        down_ms: Some(300),
                    },
                )];
                let report = run(&scenario);
                assert_eq!(phases(&report), phases(&faultless), "{scenario:?}");
                let deadline_ms = u64::from(Scenario::DEADLINE_MS);
                let longest = report.phases_ms.iter().max().unwrap();
                assert!(*longest < deadline_ms, "{longest} ms in {scenario:?}");
            }
        }
    }
}
