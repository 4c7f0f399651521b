//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use fl_model::{MemberId, RegionId, Role};
use fl_runtime::logging;
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::{Access, write_atomic};
use fl_runtime::terminal::{fail, print, print_line};
use onnx_train::Lora;

use crate::home::Home;
use crate::init::{SAMPLE_NATS_URL, init};
use crate::models::{ModelStore, summarize};
use crate::operate::Operator;
use crate::roster::{RosterEditor, RosterFile};
use crate::server;
use crate::settings::RootSettings;

#[derive(Parser)]
#[command(
    name = "cloud-root",
    version,
    about = "Plans rounds, merges regions, publishes the next model"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct HomeArgument {
    /// The root's home folder: key, settings, roster and models.
    #[arg(long, env = "CLOUD_ROOT_HOME", value_name = "DIR")]
    home: PathBuf,
}

impl HomeArgument {
    fn open(&self) -> Home {
        Home::new(&self.home)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Make a home: a key, and a commented settings file.
    Init {
        #[command(flatten)]
        home: HomeArgument,
        /// The address of nats-server.
        #[arg(long, default_value = SAMPLE_NATS_URL, value_name = "URL")]
        nats: String,
    },
    /// Run the root.
    Serve {
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Who belongs to the federation.
    #[command(subcommand)]
    Roster(RosterCommand),
    /// The models that jobs can train.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Jobs of a running root.
    #[command(subcommand)]
    Job(JobCommand),
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArgument {
    Device,
    Fog,
}

#[derive(Subcommand)]
enum RosterCommand {
    /// Take a member in, by the key that its init command printed.
    Add {
        /// Name of the device or fog.
        name: String,
        /// Its public key, 64 hexadecimal digits.
        key: String,
        /// What it is.
        #[arg(long)]
        role: RoleArgument,
        /// Its region.
        #[arg(long)]
        region: String,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Show the members.
    List {
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Take a member out.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        home: HomeArgument,
    },
}

/// Low-rank adaptation: small matrices beside large weights, which alone are trained and travel.
#[derive(clap::Args)]
struct LoraArguments {
    /// Add adapters of this rank to the weights of MatMul and Gemm; all else is frozen, and the exported model is
    /// the user's own with other weights.
    #[arg(long, value_name = "RANK")]
    lora: Option<u32>,
    /// Weights to adapt, by a pattern with '*' and '?', which may be given several times; where there are none, all
    /// that have more numbers than their adapters.
    #[arg(long, value_name = "PATTERN", requires = "lora")]
    lora_weights: Vec<String>,
    /// The adapters count alpha / rank; alpha is the rank where it is not said.
    #[arg(long, value_name = "ALPHA", requires = "lora")]
    lora_alpha: Option<f32>,
    /// Draws how the adapters begin.
    #[arg(long, value_name = "SEED", requires = "lora")]
    lora_seed: Option<u64>,
}

impl LoraArguments {
    fn adapters(self) -> Option<Lora> {
        let rank = self.lora?;
        Some(Lora {
            rank,
            alpha: self.lora_alpha.unwrap_or(rank as f32),
            seed: self.lora_seed.unwrap_or(0),
            weights: self.lora_weights,
        })
    }
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Check an ONNX model and keep it under a name.
    Import {
        /// The .onnx file.
        file: PathBuf,
        /// The name that job files use.
        #[arg(long)]
        name: String,
        /// Tell its parameters, operators, and what a training step takes of a device.
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        lora: LoraArguments,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// List the imported models.
    List {
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Show a model's parameters, operators, and what a training step takes of a device.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Write the model that a job has trained, taking raw columns.
    Export {
        /// The job.
        #[arg(long)]
        job: String,
        /// The .onnx file to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        home: HomeArgument,
    },
}

#[derive(Subcommand)]
enum JobCommand {
    /// Hand a job file in.
    Submit {
        /// The .toml file.
        file: PathBuf,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// List the jobs, oldest first.
    List {
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Show a job and its rounds.
    Show {
        /// Its name.
        job: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Follow a job until it is over.
    Watch {
        /// Its name.
        job: String,
        /// One JSON object an event.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// End a job.
    Stop {
        /// Its name.
        job: String,
        #[command(flatten)]
        home: HomeArgument,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ran = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(arguments.command)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail("cloud-root", error.as_ref()),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { home, nats } => {
            print(init(&home.open(), &nats)?)?;
            Ok(())
        }
        Command::Serve { home } => {
            let home = home.open();
            let settings = RootSettings::load(&home)?;
            logging::init(&settings.log)?;
            let shutdown = Shutdown::listen()?;
            server::serve(home, settings, shutdown).await
        }
        Command::Roster(command) => roster(command),
        Command::Model(command) => model(command).await,
        Command::Job(command) => job(command).await,
    }
}

fn roster(command: RosterCommand) -> anyhow::Result<()> {
    match command {
        RosterCommand::Add {
            name,
            key,
            role,
            region,
            home,
        } => {
            let role = match role {
                RoleArgument::Device => Role::Device,
                RoleArgument::Fog => Role::Fog,
            };
            let (member, region) = (MemberId::new(&name)?, RegionId::new(&region)?);
            let mut roster = RosterEditor::open(&home.open())?;
            let line = roster.add(member, &key, role, region.clone())?;
            let role = role.as_str();
            print_line(format_args!(
                "{name} is a {role} of region {region} (roster line {line})"
            ))?;
        }
        RosterCommand::List { home } => {
            let home = home.open();
            let roster = RosterFile::load(&home, &home.key()?)?;
            let lines = roster.members().iter().map(|(name, entry)| {
                let (role, region) = (entry.role.as_str(), entry.region.as_str());
                let key = fl_model::Digest(entry.key);
                format!("{name:<24} {role:<7} {region:<24} {key}\n")
            });
            print(lines.collect::<String>())?;
        }
        RosterCommand::Remove { name, home } => {
            let mut roster = RosterEditor::open(&home.open())?;
            let line = roster.remove(&MemberId::new(&name)?)?;
            print_line(format_args!("{name} is out (roster line {line})"))?;
        }
    }
    Ok(())
}

async fn model(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Import {
            file,
            name,
            explain,
            lora,
            home,
        } => {
            let home = home.open();
            let summary = ModelStore::of(&home).import(&name, &file, lora.adapters().as_ref())?;
            let submit = home.command("job submit FILE.toml");
            let told = match explain {
                true => summary.to_string(),
                false => summary.line() + "\n" + &summary.travels(),
            };
            print_line(format_args!(
                "{}A job trains it by model = \"{name}\" in its file; hand that in with\n  {submit}",
                told
            ))?;
        }
        ModelCommand::List { home } => {
            let store = ModelStore::of(&home.open());
            let mut lines = String::new();
            for name in store.names()? {
                lines += &summarize(&name, &store.load(&name)?)?.line();
                lines.push('\n');
            }
            print(lines)?;
        }
        ModelCommand::Show { name, home } => {
            let bytes = ModelStore::of(&home.open()).load(&name)?;
            print(summarize(&name, &bytes)?)?;
        }
        ModelCommand::Export { job, output, home } => {
            let bytes = Operator::of(home.open())?.export(&job).await?;
            write_atomic(&output, &bytes, Access::Umask)?;
            print_line(format_args!(
                "{}  {} bytes, sha256 {}",
                output.display(),
                bytes.len(),
                fl_model::Digest::of(&bytes)
            ))?;
        }
    }
    Ok(())
}

async fn job(command: JobCommand) -> anyhow::Result<()> {
    match command {
        JobCommand::Submit { file, home } => Operator::of(home.open())?.submit(&file).await,
        JobCommand::List { home } => Operator::of(home.open())?.list().await,
        JobCommand::Show { job, json, home } => Operator::of(home.open())?.show(&job, json).await,
        JobCommand::Watch { job, json, home } => Operator::of(home.open())?.watch(&job, json).await,
        JobCommand::Stop { job, home } => Operator::of(home.open())?.stop(&job).await,
    }
}
