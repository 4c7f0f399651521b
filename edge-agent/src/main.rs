//! The agent that runs on a device: see `edge-agent --help`.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use edge_agent::cli::{Cli, Command};
use edge_agent::settings::Home;
use edge_agent::{check, feed, init, local, personal, run};
use fl_runtime::logging::{self, LogSettings};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::terminal::{fail, print};

/// Threads that talk; training has one of its own.
const WORKER_THREADS: usize = 2;

/// How long training may go on after the agent was asked to end, in milliseconds: it is done again.
const LEAVE_WORK_MS: u64 = 300;

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => fail("edge-agent", error.as_ref()),
    }
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(arguments) => {
            print(init::init(&arguments.new_home()?)?)?;
        }
        Command::Run { home } => {
            let home = Home::load(&home)?;
            logging::init(&home.settings.log)?;
            block_on(async {
                let shutdown = Shutdown::listen().context("cannot listen for signals")?;
                run::run(home, shutdown).await
            })??;
        }
        Command::Check(arguments) => {
            let report = block_on(check::check(&arguments))?;
            print(&report)?;
            if !report.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::TrainLocal(arguments) => {
            logging::init(&LogSettings::default())?;
            print(local::train_local(&arguments)?)?;
        }
        Command::Evaluate(arguments) => {
            logging::init(&LogSettings::default())?;
            print(local::evaluate(&arguments)?)?;
        }
        Command::Personalize(arguments) => {
            logging::init(&LogSettings::default())?;
            print(personal::personalize(&arguments)?)?;
        }
        Command::Guard { command } => {
            let code = fl_guard::run(&command, Duration::from_millis(feed::GRACE_MS))?;
            return Ok(ExitCode::from(code));
        }
        Command::Guarded { guard, command } => fl_guard::become_guarded(&command, guard)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(LEAVE_WORK_MS));
    Ok(result)
}
