//! What `xtask demo` can be asked.

use std::path::{Path, PathBuf};

use clap::Args;

/// How to run the demo.
#[derive(Debug, Clone, Default, Args)]
pub struct DemoArguments {
    /// A job file of your own; without it, the virtual particle sensor.
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// Your data: one folder per region, in it one CSV (plain or .gz), .npz, or folder per device.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The job's ONNX model, where it is neither beside the job file nor in config/models.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Train this many rounds instead of the job's number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// The seed of everything random: the same seed gives the same model.
    #[arg(long)]
    pub seed: Option<u32>,
    /// Stay up after the last round and say how to talk to the federation.
    #[arg(long)]
    pub keep: bool,
    /// Send traces to this OTLP (gRPC) collector instead of a Jaeger on its default port.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Also write the summary to this file.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Programs that are built already, for the tests.
    #[arg(long, value_name = "DIR", hide = true)]
    pub binaries: Option<PathBuf>,
}

/// The job that is run when none is named.
pub fn default_job(root: &Path) -> PathBuf {
    root.join("config/jobs/virtual-particle-sensor.toml")
}

/// The data of the default job, which the repository carries.
pub fn default_data(root: &Path) -> PathBuf {
    root.join("data").join("beijing-air")
}
