//! The gateway as a child process.

use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fl_runtime::keys;
use fl_wire::SigningKey;
use fog_aggregator::status::Status;
use tempfile::TempDir;

use crate::nats_server::free_port;

/// How long anything may take before a test gives up.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

/// A gateway with its home; it ends with the value.
pub(crate) struct Fog {
    folder: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

/// The command under test.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fog-aggregator"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Its output.
pub(crate) fn output(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Waits until `what` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(got) = ask().await {
            return got;
        }
        assert!(
            start.elapsed() < LIMIT,
            "{what} did not happen within {LIMIT:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

impl Fog {
    /// Makes a home with `init`; the gateway is not running yet.
    pub(crate) fn new(root_key: &SigningKey, nats_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let home = folder.path().join("a home");
        let made = output(&[
            "init",
            "--home",
            home.to_str().unwrap(),
            "--name",
            "fog-north",
            "--region",
            "north",
            "--root-key",
            &keys::public_hex(&root_key.verifying_key()),
            "--nats",
            nats_url,
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        assert!(made.status.success(), "{made:?}");
        let fog = Self {
            folder,
            port,
            child: None,
        };
        fog.set("telemetry", "file = false", "file = true");
        fog.set("rounds", "grace_ms = 5000", "grace_ms = 60000");
        fog.set("rounds", "silence_ms = 6000", "silence_ms = 60000");
        fog
    }

    /// Replaces a line of the settings.
    pub(crate) fn set(&self, section: &str, line: &str, by: &str) {
        let path = self.home().join("fog-aggregator.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(line), "no {line:?} in section {section}");
        std::fs::write(&path, text.replacen(line, by, 1)).unwrap();
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("a home")
    }

    pub(crate) fn key(&self) -> SigningKey {
        keys::load(&self.home().join("key")).unwrap()
    }

    /// Runs it; its log goes on in the same file.
    pub(crate) fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = command(&["run", "--home", self.home().to_str().unwrap()])
            .env("FL_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// As SIGKILL does it.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Closes its standard input and waits for its end.
    pub(crate) async fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let mut stdin = child.stdin.take().unwrap();
        stdin.flush().unwrap();
        drop(stdin);
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "it does not end");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "it does not end");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits for a line that holds all of `parts`.
    pub(crate) async fn logged(&self, parts: &[&str]) {
        let start = Instant::now();
        loop {
            let log = self.log();
            if log
                .lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
            {
                return;
            }
            assert!(start.elapsed() < LIMIT, "no line with {parts:?} in\n{log}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What `status --json` shows, when it runs.
    pub(crate) fn status(&self) -> Option<Status> {
        let output = output(&["status", "--json", "--home", self.home().to_str().unwrap()]);
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The metrics of the control endpoint, which everybody on this machine may read.
    pub(crate) async fn metrics(&self) -> String {
        let client = fl_runtime::control::ControlClient::open(&self.home()).unwrap();
        let bytes = client.get_bytes("/metrics").await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Every span in its file, as (name, attributes as text).
    pub(crate) fn spans(&self) -> Vec<serde_json::Value> {
        spans(&self.home().join("spans.jsonl"))
    }
}

fn spans(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut spans = Vec::new();
    for line in text.lines() {
        let Ok(export) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        for resource in export["resourceSpans"].as_array().into_iter().flatten() {
            for scope in resource["scopeSpans"].as_array().into_iter().flatten() {
                for span in scope["spans"].as_array().into_iter().flatten() {
                    let mut span = span.clone();
                    span["resource"] = resource["resource"].clone();
                    spans.push(span);
                }
            }
        }
    }
    spans
}

impl Drop for Fog {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
    }
}
