//! Devices whose rows come from commands, one of which is killed in the middle of rounds: it goes on with the
//! rows that the round began with, though more have come since.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tributary_tests::{PATIENCE, Stage, assert_traces_are_clean, fixed_round, hospitals, root};
use xtask::demo::{Federation, Job, agent_name};

const ROUNDS: u32 = 6;
const DEVICES: u32 = 3;
const STRUCK: &str = "cleveland";
/// Passes over the rows that take so long that a kill falls into them.
const EPOCHS: u32 = 400;

/// All rows of a hospital at once, then one again and again: each round has more of them than the last.
const SENSOR: &str =
    "#!/bin/sh\ncat \"$1\"\nrow=$(tail -n 1 \"$1\")\nwhile :; do echo \"$row\"; sleep 0.05; done\n";

/// A round in which the device was killed.
struct Strike {
    round: u32,
    /// Its rows, as the agent's log says it.
    rows: String,
    /// Before the device had a contribution.
    in_training: bool,
}

#[test]
fn an_agent_killed_in_a_round_trains_on_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.toml");
    let shipped = root().join("config/jobs/heart-disease.toml");
    let text = fs::read_to_string(shipped).expect("a shipped job");
    let slow = text.replace("local_epochs = 1\n", &format!("local_epochs = {EPOCHS}\n"));
    assert_ne!(slow, text);
    fs::write(&file, slow).expect("a job file");
    let mut job = Job::load(&file).expect("a job");
    job.set_rounds(ROUNDS);
    job.set_quorum(1);
    let mut regions = hospitals();
    for region in &mut regions {
        // It has one class and would decline.
        region
            .devices
            .retain(|device| device.id.as_str() != "switzerland");
    }
    let mut stage = Stage::set(job, regions.clone(), None);
    for device in regions.iter().flat_map(|region| &region.devices) {
        let home = stage.federation.home(&agent_name(device.id.as_str()));
        give_sensor(&home, &device.data);
    }

    let mut strikes = Vec::new();
    let course = stage.run(|federation, round| {
        // The last round but one is the last that the device is struck in.
        if (1..ROUNDS).contains(&round.round) {
            strikes.extend(strike(federation, round.round + 1));
        }
    });
    stage.wait_for_empty_outboxes();
    stage.end();

    assert_eq!(course.trained(), ROUNDS, "as many rounds as were asked for");
    let log = fs::read_to_string(stage.federation.fleet.log_path(&agent_name(STRUCK)));
    let log = log.expect("a log");
    let mut redone = 0;
    for strike in &strikes {
        let read = format!("{}; since", strike.rows);
        let trained = format!("round {}: trained", strike.round);
        let of_round = course
            .rounds()
            .iter()
            .find(|round| round.round == strike.round);
        let counted = of_round.is_some_and(|round| round.participants == DEVICES);
        let again = log.matches(&read).count() == 2 && log.contains(&trained);
        redone += u32::from(strike.in_training && again && counted);
    }
    let struck: Vec<_> = strikes
        .iter()
        .map(|strike| (strike.round, &strike.rows, strike.in_training))
        .collect();
    assert!(
        redone > 0,
        "no round was begun again with its rows: {struck:?}\n{log}"
    );
    let all: Vec<&str> = strikes.iter().map(|strike| &strike.rows[..]).collect();
    assert!(
        all.windows(2).all(|two| two[0] != two[1]),
        "no new rows came: {all:?}"
    );
    assert!(!log.contains("has changed since"), "{log}");
    assert_traces_are_clean(&course, &stage.kept_spans());
}

fn give_sensor(home: &Path, data: &Path) {
    let settings = home.join("edge-agent.toml");
    let text = fs::read_to_string(&settings).expect("settings");
    let line = |line: &str| match line.starts_with("file = ") {
        true => format!(
            "command = [\"./read-sensor\", {:?}]\n",
            data.display().to_string()
        ),
        false => format!("{line}\n"),
    };
    let text: String = text.lines().map(line).collect();
    fs::write(settings, text).expect("settings");
    let script = home.join("read-sensor");
    fs::write(&script, SENSOR).expect("a script");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("a script");
}

/// Kills the device as soon as it has fixed its rows of a round, and starts it again at once.
fn strike(federation: &mut Federation, round: u32) -> Option<Strike> {
    let name = agent_name(STRUCK);
    let home = federation.home(&name);
    let mut rows = None;
    let noted = federation
        .fleet
        .wait_until("the round's rows", PATIENCE, |fleet| {
            let lines = fleet.new_lines(&name)?;
            let read = lines.iter().rev().find_map(|line| {
                let (_, read) = line.split_once("ring: ")?;
                Some(read.split_once("; since")?.0.to_owned())
            });
            rows = read.or(rows.take());
            // Where the device was not in time for the round, there is nothing to strike.
            let at = fixed_round(&home);
            Ok((at >= round).then_some(at))
        });
    let noted = noted.expect("rows of a round");
    federation.fleet.kill(&name).expect("it runs");
    let entry = format!("heart-disease.{round:010}.train");
    let in_training = !home.join("outbox").join(entry).exists();
    federation.fleet.restart(&name).expect("it was killed");
    Some(Strike {
        round,
        rows: rows.filter(|_| noted == round)?,
        in_training,
    })
}
