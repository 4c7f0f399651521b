//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fl_model::{DeviceId, RegionId};

use crate::init::{NewData, NewHome};

/// Trains a federation's model on this device's own data.
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What an agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a home: a key and settings with comments.
    Init(InitArguments),
    /// Take part in rounds until asked to end.
    Run {
        /// The home folder.
        #[arg(long)]
        home: PathBuf,
    },
    /// Say of each part whether it would work: settings, key, runtime, data, model, broker, clock.
    Check(CheckArguments),
    /// Train without the federation, to compare: on this home's rows, or on those of several together.
    TrainLocal(TrainLocalArguments),
    /// Test an exported model on each home's test rows.
    Evaluate(EvaluateArguments),
    /// Write this device's own model of a job that leaves parameters to its devices.
    Personalize(PersonalizeArguments),
    /// Run a command and end it when standard input closes: how `run` starts a sensor's command.
    #[command(hide = true)]
    Guard {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Become a command that dies with its guard: the inner half of guard.
    #[command(hide = true)]
    Guarded {
        /// The guard's process id.
        #[arg(long)]
        guard: i32,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// The home folder; made when it does not exist.
    #[arg(long)]
    home: PathBuf,
    /// Name of the device in the roster.
    #[arg(long)]
    name: DeviceId,
    /// Its region.
    #[arg(long)]
    region: RegionId,
    /// The root's public key, as `cloud-root init` printed it.
    #[arg(long, value_name = "HEX")]
    root_key: String,
    /// The region's broker: mqtts://host:8883, or mqtt://127.0.0.1:1883 for one on this machine.
    #[arg(long, value_name = "URL")]
    broker: String,
    /// The data: CSV, plain or gzip.
    #[arg(long, value_name = "FILE", required_unless_present = "command")]
    data: Option<PathBuf>,
    /// Training rows in place of the job's: first, and one past the last unless it is the file's end.
    #[arg(long, value_name = "FIRST,END", value_delimiter = ',', num_args = 1.., requires = "test_rows")]
    train_rows: Option<Vec<u64>>,
    /// Test rows in place of the job's.
    #[arg(long, value_name = "FIRST,END", value_delimiter = ',', num_args = 1.., requires = "train_rows")]
    test_rows: Option<Vec<u64>>,
    /// In place of a data file: a program that prints CSV rows, and its arguments. It runs in the home.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "data")]
    command: Vec<String>,
}

impl InitArguments {
    /// The home to make; a relative data file is one of the folder that the command runs in.
    ///
    /// # Errors
    /// That folder is gone.
    pub fn new_home(self) -> anyhow::Result<NewHome> {
        Ok(NewHome {
            data: match self.data {
                Some(file) => NewData::File(std::path::absolute(file)?),
                None => NewData::Command(self.command),
            },
            folder: self.home,
            device: self.name,
            region: self.region,
            root_key: self.root_key,
            broker: self.broker,
            train_rows: self.train_rows,
            test_rows: self.test_rows,
        })
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The home folder.
    #[arg(long)]
    pub home: PathBuf,
    /// Check the data against this job too.
    #[arg(long, value_name = "FILE.toml")]
    pub job: Option<PathBuf>,
    /// Check that this model can be trained for the job.
    #[arg(long, value_name = "FILE.onnx", requires = "job")]
    pub model: Option<PathBuf>,
}

/// Arguments of `train-local`.
#[derive(Debug, Args)]
pub struct TrainLocalArguments {
    /// A home folder; several pool their training rows, and each is tested on its own test rows.
    #[arg(long = "home", required = true, num_args = 1..)]
    pub homes: Vec<PathBuf>,
    /// The model.
    #[arg(long, value_name = "FILE.onnx")]
    pub model: PathBuf,
    /// The job, for its features, label and hyper-parameters.
    #[arg(long, value_name = "FILE.toml")]
    pub job: PathBuf,
    /// Numbers of epochs to try, each from the start; the job's rounds × local epochs by default.
    #[arg(long, value_delimiter = ',')]
    pub epochs: Vec<u32>,
    /// In place of the job's seed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write the result here as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// A home folder, or several.
    #[arg(long = "home", required = true, num_args = 1..)]
    pub homes: Vec<PathBuf>,
    /// A model that `cloud-root model export` wrote: it takes raw columns.
    #[arg(long, value_name = "EXPORTED.onnx")]
    pub model: PathBuf,
    /// The job, for its features, label and loss.
    #[arg(long, value_name = "FILE.toml")]
    pub job: PathBuf,
    /// Write the result here as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `personalize`.
#[derive(Debug, Args)]
pub struct PersonalizeArguments {
    /// The home folder; its agent may run.
    #[arg(long)]
    pub home: PathBuf,
    /// The job's model as `cloud-root model export` wrote it.
    #[arg(long, value_name = "EXPORTED.onnx")]
    pub model: PathBuf,
    /// The job.
    #[arg(long, value_name = "FILE.toml")]
    pub job: PathBuf,
    /// Where to write the device's own model.
    #[arg(short, long, value_name = "FILE.onnx")]
    pub output: PathBuf,
    /// Test it on this home's test rows too.
    #[arg(long)]
    pub evaluate: bool,
}
