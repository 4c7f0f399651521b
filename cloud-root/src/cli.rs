//! The command line.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use fl_model::{MemberId, RegionId, Role};
use fl_runtime::control::ControlClient;
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::{Access, write_atomic};
use fl_runtime::{keys, logging};

use crate::api::Submission;
use crate::home::Home;
use crate::job_view::{self, JobEvent, JobView};
use crate::models::{ModelStore, summarize};
use crate::roster::RosterFile;
use crate::server;
use crate::settings::RootSettings;

/// The settings file that `init` writes; `NATS_URL` is replaced.
const SETTINGS_TEMPLATE: &str = include_str!("../../config/cloud-root.toml");

/// The address in the template.
const TEMPLATE_NATS_URL: &str = "nats://127.0.0.1:4222";

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

#[derive(Subcommand)]
enum Command {
    /// Make a home: a key, and a commented settings file.
    Init {
        #[command(flatten)]
        home: HomeArgument,
        /// The address of nats-server.
        #[arg(long, default_value = TEMPLATE_NATS_URL, value_name = "URL")]
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

#[derive(Subcommand)]
enum ModelCommand {
    /// Check an ONNX model and keep it under a name.
    Import {
        /// The .onnx file.
        file: PathBuf,
        /// The name that job files use.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        home: HomeArgument,
    },
    /// List the imported models.
    List {
        #[command(flatten)]
        home: HomeArgument,
    },
    /// Show a model's parameters.
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
        Err(error) => {
            eprintln!("cloud-root: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { home, nats } => init(&Home::new(&home.home), &nats),
        Command::Serve { home } => {
            let home = Home::new(&home.home);
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

fn init(home: &Home, nats: &str) -> anyhow::Result<()> {
    let settings = home.settings_file();
    ensure!(
        !settings.exists() && !home.key_file().exists(),
        "{} is a root's home already: nothing was changed",
        home.folder().display()
    );
    std::fs::create_dir_all(home.folder())
        .with_context(|| format!("cannot make {}", home.folder().display()))?;
    let text = SETTINGS_TEMPLATE.replace(TEMPLATE_NATS_URL, nats);
    let _: RootSettings = fl_runtime::settings::parse(&text, "the settings to be written")
        .context("--nats gives settings that cannot be read")?;
    let key = keys::load_or_create(&home.key_file())?;
    write_atomic(&settings, text.as_bytes(), Access::Owner)?;
    println!("settings: {}", settings.display());
    println!(
        "root public key: {}",
        keys::public_hex(&key.verifying_key())
    );
    println!(
        "next: give that key to every fog and device (--root-key), add them by cloud-root roster add, then cloud-root serve --home '{}'",
        home.folder().display()
    );
    Ok(())
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
            let home = Home::new(&home.home);
            let signing = home.key()?;
            let mut roster = RosterFile::load(&home, &signing)?;
            let role = match role {
                RoleArgument::Device => Role::Device,
                RoleArgument::Fog => Role::Fog,
            };
            let (member, region) = (MemberId::new(&name)?, RegionId::new(&region)?);
            roster.add(&home, &signing, member, &key, role, region.clone())?;
            println!(
                "{name} is a {} of region {region} (roster line {})",
                role.as_str(),
                roster.number()
            );
        }
        RosterCommand::List { home } => {
            let home = Home::new(&home.home);
            let roster = RosterFile::load(&home, &home.key()?)?;
            for (name, entry) in roster.members() {
                let key = fl_model::Digest(entry.key);
                println!(
                    "{name:<24} {:<7} {:<24} {key}",
                    entry.role.as_str(),
                    entry.region.as_str()
                );
            }
        }
        RosterCommand::Remove { name, home } => {
            let home = Home::new(&home.home);
            let signing = home.key()?;
            let mut roster = RosterFile::load(&home, &signing)?;
            roster.remove(&home, &signing, &MemberId::new(&name)?)?;
            println!("{name} is out (roster line {})", roster.number());
        }
    }
    Ok(())
}

async fn model(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Import { file, name, home } => {
            let summary = ModelStore::of(&Home::new(&home.home)).import(&name, &file)?;
            println!("{}", summary.line());
        }
        ModelCommand::List { home } => {
            let store = ModelStore::of(&Home::new(&home.home));
            for name in store.names()? {
                println!("{}", summarize(&name, &store.load(&name)?)?.line());
            }
        }
        ModelCommand::Show { name, home } => {
            let bytes = ModelStore::of(&Home::new(&home.home)).load(&name)?;
            print!("{}", summarize(&name, &bytes)?);
        }
        ModelCommand::Export { job, output, home } => {
            let client = client(&home.home)?;
            let bytes = client
                .get_bytes(&format!("/jobs/{}/model", part(&job)?))
                .await?;
            write_atomic(&output, &bytes, Access::Umask)?;
            println!(
                "{}  {} bytes, sha256 {}",
                output.display(),
                bytes.len(),
                fl_model::Digest::of(&bytes)
            );
        }
    }
    Ok(())
}

fn client(home: &Path) -> anyhow::Result<ControlClient> {
    ControlClient::open(home).context("this command needs the running root (cloud-root serve)")
}

/// A job's name as part of a path.
fn part(job: &str) -> anyhow::Result<&str> {
    fl_model::JobId::new(job)?;
    Ok(job)
}

async fn job(command: JobCommand) -> anyhow::Result<()> {
    match command {
        JobCommand::Submit { file, home } => {
            let place = file.display().to_string();
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {place}"))?;
            let submission = Submission { place, text };
            let job: String = client(&home.home)?.post("/jobs", &submission).await?;
            println!(
                "job {job} is submitted: cloud-root job watch {job} --home '{}' follows it",
                home.home.display()
            );
        }
        JobCommand::List { home } => {
            let jobs: Vec<JobView> = client(&home.home)?.get("/jobs").await?;
            for job in jobs {
                print_job(&job);
            }
        }
        JobCommand::Show { job, json, home } => {
            let view: JobView = client(&home.home)?
                .get(&format!("/jobs/{}", part(&job)?))
                .await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&view)?);
                return Ok(());
            }
            print_job(&view);
            view.history
                .iter()
                .for_each(|round| println!("{}", job_view::line(round)));
        }
        JobCommand::Watch { job, json, home } => watch(&home.home, part(&job)?, json).await?,
        JobCommand::Stop { job, home } => {
            let path = format!("/jobs/{}/stop", part(&job)?);
            let job: String = client(&home.home)?.post(&path, &()).await?;
            println!("job {job} is stopping");
        }
    }
    Ok(())
}

fn print_job(job: &JobView) {
    println!(
        "{:<24} {:<9} {}/{} rounds  model {}  parameters {}",
        job.job,
        job.state,
        job.rounds_done,
        job.rounds,
        job.model,
        &job.parameters[..8.min(job.parameters.len())]
    );
}

async fn watch(home: &Path, job: &str, json: bool) -> anyhow::Result<()> {
    let mut lines = client(home)?.lines(&format!("/jobs/{job}/watch")).await?;
    while let Some(event) = lines.next::<JobEvent>().await? {
        if json {
            println!("{}", serde_json::to_string(&event)?);
            continue;
        }
        match &event {
            JobEvent::Done(round) => println!("{}", job_view::line(round)),
            JobEvent::Waiting { online, quorum } => {
                println!("waiting: {online} of {quorum} needed devices are connected");
            }
            JobEvent::Ended { how } => println!("job {job} is {how}"),
            JobEvent::Opened { .. } | JobEvent::Accepted { .. } => {
                if std::io::stderr().is_terminal() {
                    eprint!("\r{}\r", progress(&event));
                }
            }
        }
        if matches!(event, JobEvent::Ended { .. }) {
            return Ok(());
        }
    }
    anyhow::bail!("the root ended before job {job} did: start it again, it goes on where it was")
}

fn progress(event: &JobEvent) -> String {
    match event {
        JobEvent::Opened { round, phase } => format!("round {round}: {phase} is open        "),
        JobEvent::Accepted {
            round,
            region,
            devices,
            ..
        } => {
            format!("round {round}: {devices} devices of {region} are in        ")
        }
        _ => String::new(),
    }
}
