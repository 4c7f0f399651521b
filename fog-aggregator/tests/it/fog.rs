//! The gateway as a child process.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use fl_runtime::keys;
use fl_runtime::testing::{Process, free_port};
use fl_wire::SigningKey;
use fog_aggregator::status::Status;
use tempfile::TempDir;

/// A gateway with its home; it ends with the value.
pub(crate) struct Fog {
    // First, so that it ends before its folder goes.
    process: Process,
    folder: TempDir,
    pub(crate) port: u16,
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
            process: Process::new(&folder.path().join("log")),
            folder,
            port,
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
        let home = self.home();
        self.process
            .start(command(&["run", "--home", home.to_str().unwrap()]));
    }

    /// As SIGKILL does it.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Closes its standard input and waits for its end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// Waits for a line that holds all of `parts`.
    pub(crate) async fn logged(&self, parts: &[&str]) {
        self.process.logged(parts).await;
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
