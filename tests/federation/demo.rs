//! `xtask demo` as a user runs it: what it leaves behind, and that it leaves no process behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fl_telemetry::check::{findings, read_json};
use serde_json::Value;
use xtask::fetch::{self, PythonRuntime};
use xtask::processes::run_to_end;

use crate::support::{PATIENCE, binaries, of_trace, root};

/// What the demo prints before the folder of its results.
const RESULTS: &str = "results: ";
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A demo that says nothing more is ended, so that its reader fails instead of waiting forever.
const DEMO_MAX: Duration = Duration::from_secs(300);
/// Rounds of the default demo that are enough to see that everything fits together.
const ROUNDS: u32 = 3;
const SEED: u32 = 5;
const STATIONS: usize = 12;

/// A running demo, and what it printed so far.
struct Demo {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    results: PathBuf,
    /// Its watchman ends with it.
    _watched: Arc<()>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let tools = fetch::tools(&root()).expect("nats-server and ONNX Runtime");
        let folder = binaries();
        let mut command = Command::new(folder.join("xtask"));
        tools.set_on(&mut command);
        let mut child = command
            .arg("demo")
            .arg("--binaries")
            .arg(&folder)
            .args(arguments)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("xtask is built");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let watched = Arc::new(());
        end_after_max(child.id(), Arc::downgrade(&watched));
        let mut demo = Self {
            child,
            output,
            results: PathBuf::new(),
            _watched: watched,
        };
        let line = demo.read_until(|line| line.starts_with(RESULTS));
        demo.results = PathBuf::from(line[RESULTS.len()..].trim());
        demo
    }

    /// Reads to the first line that `wanted` accepts; the output's end before it fails.
    fn read_until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut read = String::new();
        loop {
            let mut line = String::new();
            let bytes = self.output.read_line(&mut line).expect("UTF-8");
            assert!(bytes > 0, "the demo ended too early:\n{read}");
            if wanted(&line) {
                return line;
            }
            read.push_str(&line);
        }
    }

    fn wait_for_round(&mut self, round: u32) {
        let start = format!("{round} ");
        self.read_until(|line| line.trim_start().starts_with(&start) && line.contains('/'));
    }

    fn rest(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).expect("UTF-8");
        (self.child.wait().expect("a child"), rest)
    }

    fn summary(&self) -> Value {
        let text = fs::read_to_string(self.results.join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A finished test's results are nobody's; those of a failed one are for reading.
impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.results);
        }
    }
}

#[test]
fn twelve_stations_leave_a_model_that_python_judges_alike() {
    let copy = tempfile::tempdir().expect("a folder");
    let copy = copy.path().join("my summary.json");
    let (rounds, seed) = (ROUNDS.to_string(), SEED.to_string());
    let asked = ["--rounds", &rounds, "--seed", &seed, "--summary"];
    let asked = [&asked[..], &[copy.to_str().expect("UTF-8")]].concat();
    let mut demo = Demo::start(&asked);
    let (status, printed) = demo.rest();
    assert!(status.success(), "{printed}");
    for part in [
        "all (mean)",
        "alone",
        "federated",
        "pooled",
        "traces.json",
        "Wanshouxigong",
    ] {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    assert_eq!(processes_of(&demo.results), Vec::<String>::new());

    let summary = demo.summary();
    assert_eq!(
        fs::read(&copy).expect("--summary"),
        fs::read(demo.results.join("summary.json")).expect("a summary")
    );
    assert_summary_is_whole(&summary);
    assert_traces_read_well(&demo.results, &summary);
    assert_python_agrees(&summary);
    let logs = fs::read_dir(demo.results.join("logs"))
        .expect("logs")
        .flatten();
    let agents = logs.filter(|log| log.file_name().to_string_lossy().starts_with("agent-"));
    assert_eq!(agents.count(), STATIONS);
}

fn assert_summary_is_whole(summary: &Value) {
    assert_eq!(summary["job"], "virtual-particle-sensor");
    assert_eq!(
        (summary["seed"].as_u64(), summary["rounds"].as_u64()),
        (Some(5), Some(3))
    );
    assert_eq!(
        summary["federated"]["per_device"]
            .as_object()
            .map(|map| map.len()),
        Some(STATIONS)
    );
    assert_eq!(
        summary["trace_ids"].as_array().map(Vec::len),
        Some(ROUNDS as usize + 1)
    );
    for path in [
        "/wall_s",
        "/federated/accuracy",
        "/federated/loss",
        "/federated/worst_device/accuracy",
        "/alone/accuracy_mean",
        "/pooled/accuracy",
        "/bytes/edge_up",
        "/bytes/fog_up",
        "/bytes/down",
    ] {
        let figure = summary.pointer(path).and_then(Value::as_f64);
        assert!(
            figure.is_some_and(|figure| figure > 0.0),
            "{path} in {summary:#}"
        );
    }
    let model = Path::new(summary["model"].as_str().expect("a path"));
    let digest = xtask::digest::sha256_of_file(model).expect("a model");
    assert_eq!(summary["model_sha256"].as_str(), Some(digest.as_str()));
    assert_eq!(summary["missing"], serde_json::json!([]));
}

fn assert_traces_read_well(results: &Path, summary: &Value) {
    let json = fs::read_to_string(results.join("traces.json")).expect("traces");
    let spans = read_json(&json).expect("OTLP JSON");
    for trace in summary["trace_ids"].as_array().expect("ids") {
        let spans = of_trace(&spans, trace.as_str().expect("an id"));
        let devices = spans
            .iter()
            .filter(|span| span.name.starts_with("device "))
            .count();
        assert_eq!(devices, STATIONS);
        assert_eq!(findings(&spans), Vec::<String>::new());
    }
}

/// ONNX Runtime for Python, from the raw CSV files, finds exactly the accuracies of the summary.
fn assert_python_agrees(summary: &Value) {
    let python = PythonRuntime::find(&root()).expect("Python with onnxruntime");
    let script = root().join("tests/federation/judge.py");
    let printed = run_to_end(
        python
            .command()
            .arg(script)
            .arg(summary["model"].as_str().expect("a path"))
            .arg(root().join("data/beijing-air"))
            .args(["1440", "PM2.5", "75"]),
    );
    let verdicts: Value = serde_json::from_str(&printed.expect("a judgement")).expect("JSON");
    let claimed = summary["federated"]["per_device"]
        .as_object()
        .expect("devices");
    for (device, claim) in claimed {
        let verdict = &verdicts[device];
        assert_eq!(verdict["examples"], claim["examples"], "{device}");
        let correct = verdict["correct"].as_f64().expect("a count");
        let examples = verdict["examples"].as_f64().expect("a count");
        let accuracy = claim["accuracy"].as_f64().expect("a share");
        assert!(
            (correct / examples - accuracy).abs() < 1e-9,
            "{device}: {verdict} {claim}"
        );
        let positive = verdict["positive"].as_f64().expect("a count");
        assert!(
            positive > 0.0 && positive < examples,
            "{device} always gets one answer"
        );
    }
}

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
        processes_of(&demo.results).len() >= 8,
        "root, bus, two fogs, four agents"
    );
    demo.child.kill().expect("a running demo");
    assert_nothing_is_left(&demo.results);
}

#[test]
fn interrupted_demo_ends_everything() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    signal("INT", demo.child.id());
    let (status, _) = demo.rest();
    assert!(!status.success());
    assert_nothing_is_left(&demo.results);
}

#[test]
fn child_that_fails_ends_the_demo() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    let agent = pid_of(&demo.results, "agent-hungarian");
    signal("ABRT", agent);
    let (status, _) = demo.rest();
    assert!(!status.success());
    assert_nothing_is_left(&demo.results);
}

#[test]
fn killed_agent_is_told_and_can_be_started_again() {
    let mut demo = Demo::start(&ENDLESS);
    demo.wait_for_round(1);
    // Switzerland has one class only, and never takes part.
    kill_agent(&demo.results, "agent-hungarian");
    let told = demo.read_until(|line| line.contains("was killed by signal 9"));
    let start = told
        .split_once("to start it again: ")
        .expect("the command")
        .1
        .trim();
    demo.read_until(|line| line.contains("without hungarian"));
    let mut again = Command::new("sh")
        .args(["-c", &format!("exec {start}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    demo.read_until(|line| line.split_whitespace().nth(1) == Some("3/4"));
    again.kill().expect("the agent runs");
    again.wait().expect("the agent ends");
    signal("INT", demo.child.id());
    assert!(!demo.rest().0.success());
    assert_nothing_is_left(&demo.results);
}

/// Interrupts a demo whose test still reads after the time that any of them needs.
fn end_after_max(pid: u32, watched: Weak<()>) {
    std::thread::spawn(move || {
        let end = Instant::now() + DEMO_MAX;
        while watched.strong_count() > 0 {
            if Instant::now() > end {
                return signal("INT", pid);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    });
}

/// Kills the agent of that home, and sees that it is gone.
fn kill_agent(results: &Path, home: &str) {
    let agent = pid_of(results, home);
    signal("KILL", agent);
    let end = Instant::now() + PATIENCE;
    while running(results).iter().any(|(pid, _)| *pid == agent) {
        assert!(
            Instant::now() < end,
            "the agent {agent} outlived its SIGKILL"
        );
        std::thread::sleep(LOOK_AGAIN);
    }
    let again = running(results)
        .into_iter()
        .find(|(_, line)| is_agent(line, home));
    assert!(
        again.is_none(),
        "process {agent} was killed, and {again:?} is the agent too"
    );
}

fn is_agent(line: &str, home: &str) -> bool {
    line.ends_with(home) && line.contains("edge-agent run")
}

fn signal(name: &str, pid: u32) {
    run_to_end(Command::new("kill").args(["-s", name, &pid.to_string()]))
        .expect("a running process");
}

fn assert_nothing_is_left(results: &Path) {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = processes_of(results);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{left:#?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The command lines of all living processes that name the folder.
fn processes_of(results: &Path) -> Vec<String> {
    running(results).into_iter().map(|(_, line)| line).collect()
}

/// The agent whose home has this name.
fn pid_of(results: &Path, home: &str) -> u32 {
    let found = running(results)
        .into_iter()
        .find(|(_, line)| is_agent(line, home));
    found.expect("a running agent").0
}

fn running(results: &Path) -> Vec<(u32, String)> {
    // With the slash: a demo of the same second has this folder's name and more.
    let folder = format!("{}/", results.to_str().expect("UTF-8"));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A zombie's command line is empty; a process that ends meanwhile has none.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder) {
            found.push((pid, line.trim_end().to_owned()));
        }
    }
    found
}
