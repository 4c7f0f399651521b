//! Training steps of whole networks, against PyTorch's on the same shapes: both on one thread, in turns.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use fl_model::TrainingSpec;
use onnx_train::LocalTrainer;
use onnx_train::testing::{Network, golden, operator_times};

use crate::report::{Report, Row};

const BATCHES: [usize; 3] = [1, 10, 32];

/// Batch at which memory and operators are looked at too.
const CLOSE_BATCH: usize = 10;

/// How long the steps of one measurement should take together, and how many measurements there are.
const SPAN_S: f64 = 0.1;
const REPEATS: usize = 5;

/// Measures every network, or those that are named; against PyTorch where a Python that has it is given.
pub(crate) fn measure(report: &mut Report, names: &[String], torch: Option<&Path>) -> Result<()> {
    onnx_train::init_runtime(None)?;
    let golden = golden();
    if let Some(unknown) = names
        .iter()
        .find(|name| golden.iter().all(|own| own.name != **name))
    {
        let known: Vec<&str> = golden.iter().map(|own| own.name.as_str()).collect();
        bail!(
            "no network is called {unknown:?}: there are {}",
            known.join(", ")
        );
    }
    let folder = tempfile::tempdir().context("no folder for profiles")?;
    let mut torch = torch.map(Torch::start).transpose()?;
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for own in golden
        .iter()
        .filter(|own| names.is_empty() || names.contains(&own.name))
    {
        let network = Network::load(&own.name);
        for batch in BATCHES {
            // Ours before and after PyTorch's, so that a machine that changes meanwhile shows in neither.
            let before = step_us(&network, batch)?;
            let theirs = torch
                .as_mut()
                .map(|torch| torch.step_us(&own.name, batch))
                .transpose()?;
            let ours = (before + step_us(&network, batch)?) / 2.0;
            let mut row = Row::new(&own.name)
                .family(&own.family)
                .batch(batch)
                .figure("step", ours, "µs");
            if let Some(theirs) = theirs.flatten() {
                row = row
                    .figure("PyTorch's step", theirs, "µs")
                    .against_torch(ours / theirs);
                ratios
                    .entry(own.family.clone())
                    .or_default()
                    .push(ours / theirs);
            }
            if batch == CLOSE_BATCH {
                row = memory(row, &own.name, torch.as_ref())?;
                row = row.operators(operator_times(&network, batch, folder.path()));
            }
            report.add(row);
        }
    }
    summarize(report, &ratios);
    Ok(())
}

fn summarize(report: &mut Report, ratios: &BTreeMap<String, Vec<f64>>) {
    let all: Vec<f64> = ratios.values().flatten().copied().collect();
    let families = ratios
        .iter()
        .map(|(family, of)| (family.as_str(), of.as_slice()));
    for (family, of) in families.chain([("all", all.as_slice())]) {
        if of.is_empty() {
            continue;
        }
        let mean = (of.iter().map(|ratio| ratio.ln()).sum::<f64>() / of.len() as f64).exp();
        let largest = of.iter().copied().fold(0.0, f64::max);
        report.add(
            Row::new(&format!("geometric mean, {family}"))
                .family(family)
                .against_torch(mean)
                .parameter("measured", of.len() as u64)
                .ratio("largest", largest),
        );
    }
}

/// Median time of a step in µs: what more epochs over one batch take, so that nothing else is in it.
fn step_us(network: &Network, batch: usize) -> Result<f64> {
    let examples = network.examples(batch);
    let seconds = |steps: u32| -> Result<f64> {
        let spec = TrainingSpec {
            local_epochs: steps,
            batch_size: batch as u32,
            ..TrainingSpec::plain(network.loss, 1e-4)
        };
        let mut trainer = LocalTrainer::new(&network.model, &spec)?;
        // Warms up: the runtime plans its memory in the first run.
        trainer.run(&network.parameters, &examples, [7; 32])?;
        let start = Instant::now();
        trainer.run(&network.parameters, &examples, [7; 32])?;
        Ok(start.elapsed().as_secs_f64())
    };
    let some = seconds(4)? - seconds(1)?;
    let steps = (SPAN_S / (some / 3.0).max(1e-6)).clamp(2.0, 20_000.0) as u32;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        times.push((seconds(1 + steps)? - seconds(1)?) / f64::from(steps));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2] * 1e6)
}

/// Adds the peak of resident memory, each in a process of its own.
fn memory(row: Row, name: &str, torch: Option<&Torch>) -> Result<Row> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--peak", name]);
    let ours = bytes(&mut command)?;
    let row = row.figure("peak memory", ours / MIB, "MiB");
    let Some(torch) = torch else {
        return Ok(row);
    };
    let mut command = torch.command();
    command.args(["--memory", name, &CLOSE_BATCH.to_string()]);
    let theirs = bytes(&mut command)?;
    Ok(row
        .figure("PyTorch's peak memory", theirs / MIB, "MiB")
        .ratio("memory / PyTorch", ours / theirs))
}

const MIB: f64 = 1024.0 * 1024.0;

/// Trains some steps and prints the peak of this process's resident memory in bytes.
pub(crate) fn print_peak(name: &str) -> Result<()> {
    onnx_train::init_runtime(None)?;
    let network = Network::load(name);
    let spec = TrainingSpec {
        local_epochs: 5,
        batch_size: CLOSE_BATCH as u32,
        ..TrainingSpec::plain(network.loss, 1e-4)
    };
    let mut trainer = LocalTrainer::new(&network.model, &spec)?;
    trainer.run(&network.parameters, &network.examples(CLOSE_BATCH), [7; 32])?;
    let status =
        fs::read_to_string("/proc/self/status").context("peak memory is read on Linux only")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    println!("{}", kib.context("the kernel tells no peak")? * 1024);
    Ok(())
}

/// The number that a command prints.
fn bytes(command: &mut Command) -> Result<f64> {
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

/// A Python that trains the same networks in PyTorch.
struct Torch {
    python: PathBuf,
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &Path) -> Result<Self> {
        let mut command = command(python);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", python.display()))?;
        let (asked, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            python: python.to_owned(),
            asked: asked.context("no way to ask PyTorch")?,
            answers: BufReader::new(answers.context("no way to hear PyTorch")?),
            child,
        })
    }

    fn command(&self) -> Command {
        command(&self.python)
    }

    /// None where PyTorch cannot take such a step.
    fn step_us(&mut self, name: &str, batch: usize) -> Result<Option<f64>> {
        let ended = "PyTorch has ended: see its message above";
        writeln!(self.asked, "{name} {batch}").context(ended)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).context(ended)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(python: &Path) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .arg(folder.join("torch_steps.py"))
        .arg(folder.join("../crates/onnx-grad/architectures"));
    command
}
