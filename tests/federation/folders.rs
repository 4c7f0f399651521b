//! A device whose folder of images changes while its agent is killed in the middle of rounds: it goes on with the
//! images that the round began with.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tributary_tests::{
    LOOK_AGAIN, PATIENCE, Stage, assert_traces_are_clean, draw_digits, fixed_round, root,
};
use xtask::demo::{Federation, Job, agent_name, discover};

const ROUNDS: u32 = 3;
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

    let mut in_training = 0;
    let course = stage.run(|federation, round| {
        if (1..ROUNDS).contains(&round.round) {
            in_training += usize::from(strike(federation, round.round + 1, &images));
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
    let times = |more: usize| {
        let read = format!(" {} examples, of which", EXAMPLES + more);
        log.matches(&read).count()
    };
    let read: Vec<usize> = (0..ROUNDS as usize - 1).map(times).collect();
    assert!(in_training > 0, "no kill fell into the training");
    assert!(read.iter().all(|times| *times > 0), "{read:?}\n{log}");
    let again = read.iter().filter(|times| **times > 1).count();
    assert!(again >= in_training, "{in_training} {read:?}\n{log}");
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

/// Kills the device as soon as it has fixed its images of a round, changes its folder, and starts it again: whether
/// the device had no contribution yet.
fn strike(federation: &mut Federation, round: u32, images: &Path) -> bool {
    let name = agent_name(STRUCK);
    let home = federation.home(&name);
    let fixed = federation
        .fleet
        .wait_until("the round's images", PATIENCE, |_| {
            Ok((fixed_round(&home) >= round).then_some(()))
        });
    fixed.expect("images of a round");
    federation.fleet.kill(&name).expect("it runs");
    let entry = format!("digits-images.{round:010}.train");
    let in_training = !home.join("outbox").join(entry).exists();
    let of_digit = images.join("7");
    let names = fs::read_dir(&of_digit).expect("a digit's images");
    let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").path()).collect();
    names.sort();
    fs::copy(&names[0], of_digit.join(format!("more-{round}.png"))).expect("one more");
    let other = images.join(".other");
    fs::copy(&names[1], &other).expect("another");
    fs::rename(&other, &names[2]).expect("in its place");
    federation.fleet.restart(&name).expect("it was killed");
    in_training
}
