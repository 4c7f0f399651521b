//! Benchmarks. What is compared is measured in one run, one after the other, and reported as a ratio.

mod report;
mod rival;
mod step;
mod sum;
mod train;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use report::Report;
use train::Races;

/// Measures; `cargo xtask bench` runs it in the release profile with the ONNX Runtime it needs.
#[derive(Parser)]
#[command(name = "tributary-bench")]
struct Arguments {
    /// What to measure; everything without.
    #[arg(value_enum)]
    what: Vec<What>,
    /// Also write the rows into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A Python that has PyTorch, to train against.
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,
    /// Train on tract as well, where this is built with the feature `tract`.
    #[arg(long)]
    tract: bool,
    /// Train only this network; may be given several times.
    #[arg(long, value_name = "NAME")]
    network: Vec<String>,
    /// Print the peak memory of training this network, and nothing else.
    #[arg(long, hide = true, value_name = "NAME")]
    peak: Option<String>,
    /// Answer lines that name a network and a batch with the time of a step, and nothing else.
    #[arg(long, hide = true)]
    steps: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Time of a local training step, against a forward pass of the same batch.
    Step,
    /// Throughput of the exact sum, against the machine's memory bandwidth.
    Sum,
    /// Time and memory of training steps of whole networks, against PyTorch where a Python has it.
    Train,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(
        !arguments.tract || cfg!(feature = "tract"),
        "this is built without tract: run `cargo xtask bench train --tract`"
    );
    if let Some(name) = &arguments.peak {
        return train::print_peak(name);
    }
    if arguments.steps {
        return train::answer();
    }
    let asked = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    let mut report = Report::default();
    if asked(What::Step) {
        step::measure(&mut report)?;
    }
    if asked(What::Sum) {
        sum::measure(&mut report)?;
    }
    if asked(What::Train) {
        let races = Races {
            names: &arguments.network,
            torch: arguments.torch.as_deref(),
            tract: arguments.tract,
        };
        train::measure(&mut report, &races)?;
    }
    if let Some(path) = &arguments.json {
        report
            .write(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
