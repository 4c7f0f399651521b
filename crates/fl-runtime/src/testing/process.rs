//! A program of ours as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use super::{LIMIT, PAUSE, must};

/// A running program and its log; it ends with the value.
#[derive(Debug)]
pub struct Process {
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not yet running; what it says on standard error will be appended to `log`.
    pub fn new(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            child: None,
        }
    }

    /// Runs `command`; it ends when its standard input closes.
    pub fn start(&mut self, mut command: Command) {
        let log = File::options().create(true).append(true).open(&self.log);
        let child = command
            .env("FL_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(must("a log", log))
            .spawn();
        self.child = Some(must("a start", child));
    }

    /// As SIGKILL does it.
    pub fn kill(&mut self) {
        let mut child = self.running();
        must("a kill", child.kill());
        must("an end", child.wait());
    }

    /// Closes its standard input and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
        self.ended().await
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.running();
        let start = Instant::now();
        loop {
            if let Some(status) = must("its status", child.try_wait()) {
                return status;
            }
            if start.elapsed() >= LIMIT {
                // So that it does not stay behind.
                self.child = Some(child);
                panic!("it does not end; its log is\n{}", self.log());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What it has said so far, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that holds all of `parts`.
    pub async fn logged(&self, parts: &[&str]) {
        self.logged_after(0, parts).await;
    }

    /// Waits for such a line after the first `after_bytes` of the log.
    pub async fn logged_after(&self, after_bytes: usize, parts: &[&str]) {
        let start = Instant::now();
        loop {
            let log = self.log();
            let new = log.get(after_bytes..).unwrap_or_default();
            let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
            if new.lines().any(has_all) {
                return;
            }
            assert!(start.elapsed() < LIMIT, "no line with {parts:?} in\n{new}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn running(&mut self) -> Child {
        match self.child.take() {
            Some(child) => child,
            None => panic!("it is not running"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Runs `command` to its end with a standard output that nobody reads: a pipe whose other end is
/// closed, as `| grep -q` leaves it.
pub fn output_to_nobody(mut command: Command) -> Output {
    let (reader, writer) = must("a pipe", std::io::pipe());
    drop(reader);
    let child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    must("its output", must("a start", child).wait_with_output())
}

/// Asserts that a command ended with an error that holds all of `parts`, and without a panic.
pub fn assert_refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it succeeded: {output:?}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}
