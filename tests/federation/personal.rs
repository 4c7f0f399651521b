//! A head that each device keeps for itself: what its agent writes is the model that the rounds tested on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tributary_tests::{Stage, hospitals, root};
use xtask::demo::Job;

const ROUNDS: u32 = 12;
const DEVICES: [&str; 3] = ["cleveland", "hungarian", "va-long-beach"];

/// Where the counters of a round and those of an exported model may differ, as a share of right answers.
const TOLERANCE: f64 = 1e-3;

#[test]
fn each_device_writes_the_model_that_its_rounds_tested() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.toml");
    let shipped = root().join("config/jobs/heart-disease.toml");
    let text = fs::read_to_string(shipped).expect("a shipped job");
    let own = text.replace("[training]\n", "[training]\nlocal = [\"fc2.*\"]\n");
    assert_ne!(own, text);
    fs::write(&file, own).expect("a job file");
    let mut job = Job::load(&file).expect("a job");
    job.set_rounds(ROUNDS);
    job.set_quorum(3);
    let mut stage = Stage::set(job, hospitals(), None);
    let course = stage.run(|_, _| {});
    let exported = stage.export();

    let (mut right, mut examples) = (0.0, 0.0);
    let mut models = BTreeSet::new();
    for device in DEVICES {
        // The agents run, and may wait to hear how their last contribution ended.
        let (model, printed) = personalize(&stage, &exported, device);
        let told = stage.evaluate(&model, device);
        assert!(printed.ends_with(&told), "{printed}\n{told}");
        let wrote = [
            "9 numbers",
            &format!("as round {ROUNDS} left them"),
            "fc2.weight, fc2.bias",
        ];
        assert!(wrote.iter().all(|part| printed.contains(part)), "{printed}");
        let (tested, accuracy) = score(&told, device);
        right += tested * accuracy;
        examples += tested;
        models.insert(fs::read(&model).expect("a model"));
        let of_file = stage.evaluate(&exported, device);
        assert_ne!(of_file, told, "the export has the head of the model file");
    }
    assert_eq!(models.len(), DEVICES.len(), "each has its own");
    let last = course.rounds().last().expect("rounds");
    let said = last.accuracy.expect("an accuracy");
    assert!(
        (said - right / examples).abs() < TOLERANCE,
        "{said} {right} of {examples}"
    );
    stage.wait_for_empty_outboxes();
    stage.end();
    for device in DEVICES {
        let (model, _) = personalize(&stage, &exported, device);
        assert!(models.contains(&fs::read(&model).expect("a model")));
    }
}

/// The device's own model, and what its agent's command prints.
fn personalize(stage: &Stage, exported: &Path, device: &str) -> (PathBuf, String) {
    let (model, printed) = stage.personalize(exported, device);
    (model, printed.expect("a personal model"))
}

/// Test examples and accuracy on a device's line.
fn score(printed: &str, device: &str) -> (f64, f64) {
    let line = printed.lines().find(|line| line.starts_with(device));
    let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
    let number = |word: &str| word.parse::<f64>().expect("a number");
    (number(words[2]), number(words.last().expect("words")))
}
