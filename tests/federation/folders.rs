//! A device whose folder of images changes while its agent is killed in the middle of rounds: it goes on with the
//! images that the round began with.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tributary_tests::{
    LOOK_AGAIN, PATIENCE, Stage, assert_traces_are_clean, draw_digits, fixed_round, root,
};
use xtask::demo::{Federation, Job, agent_name, discover};

/// In each but the first, the agent is killed until one kill has fallen into its training.
const ROUNDS: u32 = 5;
const DEVICES: u32 = 4;
const STRUCK: &str = "desk-1";
/// Its images at first.
const EXAMPLES: usize = 450;
/// Passes over the images that take so long that a kill falls into them.
const EPOCHS: u32 = 20;

#[test]
fn an_agent_killed_in_a_round_trains_on_the_same_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    draw_digits(&data);
    let file = folder.path().join("job.toml");
    let shipped = root().join("config/jobs/digits-images.toml");
    let text = fs::read_to_string(shipped).expect("a shipped job");
    let slow = text.replace("local_epochs = 2\n", &format!("local_epochs = {EPOCHS}\n"));
    assert_ne!(slow, text);
    fs::write(&file, slow).expect("a job file");
    let mut job = Job::load(&file).expect("a job");
    job.set_rounds(ROUNDS);
    // Without the struck device no round is merged.
    job.set_quorum(DEVICES);
    let images = data.join("east").join(STRUCK).join("images");
    let mut stage = Stage::set(job, discover(&data).expect("what was drawn"), None);

    let mut strikes: Vec<Strike> = Vec::new();
    let course = stage.run(|federation, round| {
        let is_done = strikes.iter().any(|strike| strike.is_in_training);
        if (1..ROUNDS).contains(&round.round) && !is_done {
            strikes.push(strike(federation, round.round + 1, &images));
        }
    });
    stage.wait_for_empty_outboxes();
    wait_for_no_snapshots(&stage);
    stage.end();

    assert_eq!(course.trained(), ROUNDS, "as many rounds as were asked for");
    let rounds = course.rounds();
    assert!(rounds.iter().all(|round| round.participants == DEVICES));
    let log = fs::read_to_string(stage.federation.fleet.log_path(&agent_name(STRUCK)));
    let log = log.expect("a log");
    assert!(!log.contains("has changed since"), "{log}");
    // A round that was begun again read the images that it had, the next one those that had come since.
    let read = |more: usize| format!(" {} examples, of which", EXAMPLES + more);
    let (struck, last) = (strikes.len(), strikes.last().expect("a strike"));
    assert!(last.is_in_training, "no kill fell into the training: {log}");
    let after = &log[last.log_bytes..];
    let first = after
        .lines()
        .find(|line| line.contains("examples, of which"));
    let first = first.expect("images that were read again");
    assert!(first.contains(&read(struck - 1)), "{first}\n{log}");
    let goes_on = last.round < ROUNDS;
    assert!(!goes_on || after.contains(&read(struck)), "{log}");
    assert_traces_are_clean(&course, &stage.kept_spans());
}

/// Waits until no device keeps the images of a round: the job is over.
fn wait_for_no_snapshots(stage: &Stage) {
    let end = Instant::now() + PATIENCE;
    let regions = stage.federation.regions().iter();
    for device in regions.flat_map(|region| &region.devices) {
        let home = stage.federation.home(&agent_name(device.id.as_str()));
        while home.join("snapshot").exists() {
            assert!(Instant::now() < end, "{} keeps its images", device.id);
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// A kill in a round.
struct Strike {
    round: u32,
    /// Whether the device had fixed the round's images and not yet trained on them.
    is_in_training: bool,
    /// How long its log was then.
    log_bytes: usize,
}

/// Kills the device as soon as it has fixed its images of a round, changes its folder, and starts it again.
fn strike(federation: &mut Federation, round: u32, images: &Path) -> Strike {
    let name = agent_name(STRUCK);
    let home = federation.home(&name);
    let fixed = federation
        .fleet
        .wait_until("the round's images", PATIENCE, |_| {
            Ok((fixed_round(&home) >= round).then_some(()))
        });
    fixed.expect("images of a round");
    federation.fleet.kill(&name).expect("it runs");
    let log = fs::read_to_string(federation.fleet.log_path(&name)).expect("a log");
    let trained = format!("round {round}: trained");
    let is_in_training = fixed_round(&home) == round && !log.contains(&trained);
    let of_digit = images.join("7");
    let names = fs::read_dir(&of_digit).expect("a digit's images");
    let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").path()).collect();
    names.sort();
    fs::copy(&names[0], of_digit.join(format!("more-{round}.png"))).expect("one more");
    let other = images.join(".other");
    fs::copy(&names[1], &other).expect("another");
    fs::rename(&other, &names[2]).expect("in its place");
    federation.fleet.restart(&name).expect("it was killed");
    Strike {
        round,
        is_in_training,
        log_bytes: log.len(),
    }
}
