//! Another process that takes the same steps when asked: PyTorch, or ourselves on tract.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use onnx_train::RUNTIME_PATH_VARIABLE;

/// A process that is told a network and a batch in a line, and answers with the µs of a step.
pub(crate) struct Rival {
    pub(crate) names: Names,
    /// Makes the command that steps, and with more arguments the one that trains once to be weighed.
    command: Box<dyn Fn() -> Command>,
    /// What that one is told of a network and a batch.
    weigh: fn(&str, usize) -> Vec<String>,
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a rival's rows are called.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) step: &'static str,
    pub(crate) memory: &'static str,
    pub(crate) memory_ratio: &'static str,
}

impl Rival {
    /// The PyTorch of a Python.
    pub(crate) fn torch(python: &Path) -> Result<Self> {
        let python = python.to_owned();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let command = move || {
            let mut command = Command::new(&python);
            command
                .arg(folder.join("torch_steps.py"))
                .arg(folder.join("../crates/onnx-grad/architectures"));
            command
        };
        let names = Names {
            step: "PyTorch's step",
            memory: "PyTorch's peak memory",
            memory_ratio: "memory / PyTorch",
        };
        let weigh = |name: &str, batch: usize| {
            let told = ["--memory", name, &batch.to_string()];
            told.map(str::to_owned).to_vec()
        };
        Self::start(names, Box::new(command), weigh, None)
    }

    /// This program without ONNX Runtime.
    pub(crate) fn tract() -> Result<Self> {
        let own = std::env::current_exe()?;
        let command = move || {
            let mut command = Command::new(&own);
            command.env_remove(RUNTIME_PATH_VARIABLE);
            command
        };
        let names = Names {
            step: "tract's step",
            memory: "tract's peak memory",
            memory_ratio: "memory / tract",
        };
        // Always at the same batch.
        let weigh = |name: &str, _| ["--peak", name].map(str::to_owned).to_vec();
        Self::start(names, Box::new(command), weigh, Some("--steps"))
    }

    fn start(
        names: Names,
        command: Box<dyn Fn() -> Command>,
        weigh: fn(&str, usize) -> Vec<String>,
        steps: Option<&str>,
    ) -> Result<Self> {
        let mut stepping = command();
        let mut child = stepping
            .args(steps)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", stepping.get_program().display()))?;
        let (asked, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            names,
            command,
            weigh,
            asked: asked.context("no way to ask it")?,
            answers: BufReader::new(answers.context("no way to hear it")?),
            child,
        })
    }

    /// Time of a step in µs; none where it cannot take one.
    pub(crate) fn step_us(&mut self, name: &str, batch: usize) -> Result<Option<f64>> {
        let ended = "what is measured beside us has ended: see its message above";
        writeln!(self.asked, "{name} {batch}").context(ended)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).context(ended)
    }

    /// Peak of resident memory in bytes of a process that trains a network.
    pub(crate) fn peak(&self, name: &str, batch: usize) -> Result<f64> {
        let mut command = (self.command)();
        command.args((self.weigh)(name, batch));
        bytes(&mut command)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number that a command prints.
pub(crate) fn bytes(command: &mut Command) -> Result<f64> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot measure memory")?;
    ensure!(
        output.status.success(),
        "measuring memory failed: see its message above"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("{text:?} is no number of bytes"))
}
