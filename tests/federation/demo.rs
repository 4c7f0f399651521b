//! That `xtask demo` leaves no process behind, however it ends, and what it tells of a killed child.

use std::path::Path;
use std::process::{Command, Stdio};

use tributary_tests::{Demo, paste, processes_of, signal};
use xtask::demo::CLOUD_ROOT;

/// The hospitals, for longer than any test.
const ENDLESS: [&str; 6] = [
    "--job",
    "config/jobs/heart-disease.toml",
    "--data",
    "data/heart-disease",
    "--rounds",
    "100000",
];

#[test]
fn sigkill_of_the_demo_leaves_no_process_behind() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    assert!(
        processes_of(demo.results()).len() >= 8,
        "root, bus, two fogs, four agents"
    );
    demo.kill();
    demo.assert_nothing_is_left();
}

#[test]
fn interrupted_demo_ends_everything() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    demo.interrupt();
    let (status, _) = demo.rest();
    assert!(!status.success());
    demo.assert_nothing_is_left();
}

#[test]
fn child_that_fails_ends_the_demo() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    signal("ABRT", demo.agent("agent-hungarian"));
    let (status, _) = demo.rest();
    assert!(!status.success());
    demo.assert_nothing_is_left();
}

/// The agent is killed and started again by the printed command; then the job is stopped, and table
/// and summary say when it was missing, and why.
#[test]
fn killed_agent_is_told_and_can_be_started_again() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    // Switzerland has one class only, and never takes part.
    demo.kill_agent("agent-hungarian");
    let told = demo.read_until(|line| line.contains("was killed by signal 9"));
    let start = told
        .split_once("to start it again: ")
        .expect("the command")
        .1
        .trim();
    let without = demo.read_until(|line| line.contains("without hungarian"));
    let mut again = Command::new("sh")
        .args(["-c", &format!("exec {start}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    demo.read_until(|line| line.split_whitespace().nth(1) == Some("3/4"));

    let root = demo.home(CLOUD_ROOT);
    let program = tributary_tests::binaries().join(CLOUD_ROOT);
    let word = |path: &Path| fl_model::shell_word(path.to_str().expect("UTF-8"));
    let (program, root) = (word(&program), word(&root));
    paste(&format!("{program} job stop heart-disease --home {root}"));
    let (status, closing) = demo.rest();
    assert!(status.success(), "{closing}");
    again.kill().expect("the agent runs");
    again.wait().expect("the agent ends");
    demo.assert_nothing_is_left();

    let reason = without.split_once(": ").expect("a reason").1.trim();
    let line = closing
        .lines()
        .find(|line| line.starts_with("without hungarian in round ") && line.ends_with(reason));
    assert!(line.is_some(), "{reason:?} in {closing}");
    let summary = demo.summary();
    let missing = summary["missing"].as_array().expect("a list").iter();
    let rounds: Vec<u64> = missing
        .filter(|missing| missing["device"] == "hungarian" && missing["reason"] == reason)
        .map(|missing| missing["round"].as_u64().expect("a number"))
        .collect();
    assert!(!rounds.is_empty(), "{summary:#}");
    let last = summary["rounds"].as_u64().expect("a number");
    assert!(
        rounds.iter().all(|round| (1..last).contains(round)),
        "{rounds:?} of {last}"
    );
}
