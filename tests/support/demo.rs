//! `xtask demo` as a user runs it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::fetch;

use crate::{LOOK_AGAIN, PATIENCE, binaries, root, signal};

/// What the demo prints before the folder of its results.
const RESULTS: &str = "results: ";
/// A demo that says nothing more is ended, so that its reader fails instead of waiting forever.
const DEMO_MAX: Duration = Duration::from_secs(600);

/// A running demo, and what it printed so far.
pub struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    results: PathBuf,
    /// Its watchman ends with it.
    _watched: Arc<()>,
}

impl Demo {
    /// Starts it with these arguments, and waits for the folder of its results.
    pub fn start(arguments: &[&str]) -> Self {
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

    /// The folder of its results.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// The home of one of its processes.
    pub fn home(&self, name: &str) -> PathBuf {
        self.results.join("homes").join(name)
    }

    /// Reads to the first line that `wanted` accepts; the output's end before it fails.
    pub fn read_until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut read = self.lines_until(wanted);
        read.pop().expect("the wanted line")
    }

    /// Reads to the first line that `wanted` accepts, and gives all of them.
    pub fn lines_until(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            let mut line = String::new();
            let bytes = self.output.read_line(&mut line).expect("UTF-8");
            assert!(bytes > 0, "the demo ended too early:\n{}", read.concat());
            let found = wanted(&line);
            read.push(line);
            if found {
                return read;
            }
        }
    }

    /// Waits until this round's line is printed.
    pub fn wait_for_round(&mut self, round: u32) -> String {
        let start = format!("{round} ");
        self.read_until(|line| line.trim_start().starts_with(&start) && line.contains('/'))
    }

    /// Waits for its end, and gives what it printed until then.
    pub fn rest(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("UTF-8");
        (self.child.wait().expect("a child"), rest)
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        signal("INT", self.child.id());
    }

    /// SIGKILL to the demo itself.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running demo");
    }

    /// Its summary.
    pub fn summary(&self) -> Value {
        let text = fs::read_to_string(self.results.join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The process id of the agent whose home has this name.
    pub fn agent(&self, home: &str) -> u32 {
        let found = running(&self.results)
            .into_iter()
            .find(|(_, line)| is_agent(line, home));
        found.expect("a running agent").0
    }

    /// Kills the agent of that home, and sees that it is gone.
    pub fn kill_agent(&self, home: &str) {
        let agent = self.agent(home);
        signal("KILL", agent);
        let end = Instant::now() + PATIENCE;
        while running(&self.results).iter().any(|(pid, _)| *pid == agent) {
            assert!(
                Instant::now() < end,
                "the agent {agent} outlived its SIGKILL"
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        let again = running(&self.results)
            .into_iter()
            .find(|(_, line)| is_agent(line, home));
        assert!(
            again.is_none(),
            "process {agent} was killed, and {again:?} is the agent too"
        );
    }

    /// Waits until no process names the folder of the results.
    pub fn assert_nothing_is_left(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = processes_of(&self.results);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{left:#?}");
            std::thread::sleep(LOOK_AGAIN);
        }
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

fn is_agent(line: &str, home: &str) -> bool {
    line.ends_with(home) && line.contains("edge-agent run")
}

/// The command lines of all living processes that name the folder.
pub fn processes_of(results: &Path) -> Vec<String> {
    running(results).into_iter().map(|(_, line)| line).collect()
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
