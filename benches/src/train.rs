//! Training steps of whole networks, against PyTorch's on the same shapes: both on one thread, in turns.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fl_model::TrainingSpec;
use onnx_train::LocalTrainer;
use onnx_train::testing::{Golden, Network, golden, operator_times};

use crate::report::{Report, Row};
use crate::rival::{Rival, bytes};

const BATCHES: [usize; 3] = [1, 10, 32];

/// Batch at which memory and operators are looked at too.
const CLOSE_BATCH: usize = 10;

/// How long the steps of one measurement should take together, and how many measurements there are.
const SPAN_S: f64 = 0.1;
const REPEATS: usize = 5;

/// What networks are measured, and against what.
pub(crate) struct Races<'a> {
    /// Names of networks; all where there are none.
    pub(crate) names: &'a [String],
    /// A Python that has PyTorch.
    pub(crate) torch: Option<&'a Path>,
    /// Ourselves without ONNX Runtime.
    pub(crate) tract: bool,
}

/// Measures networks, in turns with what they are measured against.
pub(crate) fn measure(report: &mut Report, races: &Races<'_>) -> Result<()> {
    onnx_train::init_runtime(None)?;
    let golden = golden();
    if let Some(unknown) = races
        .names
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
    let mut torch = races.torch.map(Rival::torch).transpose()?;
    let mut tract = races.tract.then(Rival::tract).transpose()?;
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let chosen = |own: &&Golden| races.names.is_empty() || races.names.contains(&own.name);
    for own in golden.iter().filter(chosen) {
        let network = Network::load(&own.name);
        for batch in BATCHES {
            // Ours before and after theirs, so that a machine that changes meanwhile shows in neither.
            let before = step_us(&network, batch)?;
            let steps = |rival: &mut Option<Rival>| {
                let asked = rival.as_mut().map(|rival| rival.step_us(&own.name, batch));
                asked.transpose().map(Option::flatten)
            };
            let (torch_us, tract_us) = (steps(&mut torch)?, steps(&mut tract)?);
            let ours = (before + step_us(&network, batch)?) / 2.0;
            let mut row = Row::new(&own.name)
                .family(&own.family)
                .batch(batch)
                .figure("step", ours, "µs");
            if let (Some(torch), Some(theirs)) = (&torch, torch_us) {
                row = row
                    .figure(torch.names.step, theirs, "µs")
                    .against_torch(ours / theirs);
                ratios
                    .entry(own.family.clone())
                    .or_default()
                    .push(ours / theirs);
            }
            if let (Some(tract), Some(theirs)) = (&tract, tract_us) {
                row = row
                    .figure(tract.names.step, theirs, "µs")
                    .ratio("tract's step / step", theirs / ours);
            }
            if batch == CLOSE_BATCH {
                row = memory(row, &own.name, [&torch, &tract].into_iter().flatten())?;
                row = row.operators(operator_times(&network, batch, folder.path()));
            }
            report.add(row);
        }
    }
    summarize(report, &ratios);
    Ok(())
}

/// Answers lines that name a network and a batch with the µs of a step, until there are no more.
pub(crate) fn answer() -> Result<()> {
    onnx_train::init_runtime(None)?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (name, batch) = line.split_once(' ').context("a network and a batch")?;
        let step = step_us(&Network::load(name), batch.parse()?)?;
        println!("{step}");
        std::io::stdout().flush()?;
    }
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
fn memory<'a>(row: Row, name: &str, rivals: impl Iterator<Item = &'a Rival>) -> Result<Row> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--peak", name]);
    let ours = bytes(&mut command)?;
    let mut row = row.figure("peak memory", ours / MIB, "MiB");
    for rival in rivals {
        let theirs = rival.peak(name, CLOSE_BATCH)?;
        row = row
            .figure(rival.names.memory, theirs / MIB, "MiB")
            .ratio(rival.names.memory_ratio, ours / theirs);
    }
    Ok(row)
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
