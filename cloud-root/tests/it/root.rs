//! The root of a home, and whoever commands it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use fl_runtime::testing::{JETSTREAM, NatsProcess, Process, assert_refused, until};
use fl_wire::SigningKey;
use tempfile::TempDir;

/// A root with its home and its nats-server.
pub(crate) struct Root {
    // First, so that it ends before its folder and its bus go.
    process: Process,
    folder: TempDir,
    pub(crate) nats: NatsProcess,
}

/// The command under test.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloud-root"));
    command.args(words).env_remove("RUST_LOG");
    command
}

/// The words that a command printed, or why it should not have failed.
pub(crate) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A public key, as an init command prints it.
pub(crate) fn public_key(seed: u8) -> String {
    let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
    fl_runtime::keys::public_hex(&key)
}

/// A file of the workspace.
pub(crate) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Root {
    /// Makes a home with `init`; neither the root nor its nats-server run yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Self {
            process: Process::new(&folder.path().join("log")),
            folder,
            nats: NatsProcess::new(JETSTREAM),
        };
        root.run(&["init", "--nats", &root.nats.url()]);
        root
    }

    /// Running, with its nats-server.
    pub(crate) async fn serving() -> Self {
        let mut root = Self::new();
        root.nats.start();
        root.start();
        root.logged(&["serving"]).await;
        root
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("a home")
    }

    /// A file beside the home.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn set(&self, line: &str, by: &str) {
        let path = self.home().join("cloud-root.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(line), "no {line:?} in the settings");
        std::fs::write(&path, text.replacen(line, by, 1)).unwrap();
    }

    pub(crate) fn start(&mut self) {
        self.process.start(self.command(&["serve"]));
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Started after a kill.
    pub(crate) async fn start_again(&mut self) {
        let said = self.process.log().len();
        self.start();
        self.process.logged_after(said, &["serving"]).await;
    }

    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.stop().await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    pub(crate) async fn logged(&self, parts: &[&str]) {
        self.process.logged(parts).await;
    }

    /// A command on this home.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = command(words);
        command.arg("--home").arg(self.home());
        command
    }

    /// Its output.
    pub(crate) fn output(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What it printed; it must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        said(&self.output(words))
    }

    /// It must fail, with an error that holds all of `parts`.
    pub(crate) fn refuses(&self, words: &[&str], parts: &[&str]) {
        assert_refused(&self.output(words), parts);
    }

    pub(crate) fn add(&self, name: &str, seed: u8, role: &str, region: &str) -> String {
        let key = public_key(seed);
        self.run(&[
            "roster", "add", name, &key, "--role", role, "--region", region,
        ])
    }

    /// Imports the hospitals' model, which the shipped job names.
    pub(crate) fn import_model(&self) {
        let model = shipped("config/models/heart-mlp.onnx");
        let model = model.to_str().unwrap();
        self.run(&["model", "import", model, "--name", "heart-mlp"]);
    }

    /// The hospitals' job under another name, with other changes.
    pub(crate) fn job(&self, name: &str, changes: &[(&str, &str)]) -> String {
        let text = std::fs::read_to_string(shipped("config/jobs/heart-disease.toml")).unwrap();
        let mut text = text.replacen("job = \"heart-disease\"", &format!("job = \"{name}\""), 1);
        for (from, to) in changes {
            assert!(text.contains(from), "no {from:?} in the job");
            text = text.replacen(from, to, 1);
        }
        let file = self.file(&format!("{name}.toml"), text);
        file.to_str().unwrap().to_owned()
    }

    /// Waits until `job list` shows the job in that state.
    pub(crate) async fn job_is(&self, job: &str, state: &str) {
        let in_state = |line: &str| {
            let mut words = line.split_whitespace();
            (words.next(), words.next()) == (Some(job), Some(state))
        };
        until(&format!("{job} to be {state}"), async || {
            self.run(&["job", "list"])
                .lines()
                .any(in_state)
                .then_some(())
        })
        .await;
    }
}
