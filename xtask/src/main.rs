//! `cargo xtask`: everything that is done to the project, in one place.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::bench::{self, BenchArguments};
use xtask::demo::{self, DemoArguments};
use xtask::docker::{self, DockerArguments};
use xtask::fetch::{self, Platform, PythonRuntime};
use xtask::processes::run_to_end;
use xtask::testing::{self, TestArguments};
use xtask::{guard, supply_chain, tidy, tract, workspace};

/// Tributary's development commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or fetch nats-server and the ONNX Runtime library.
    Fetch {
        /// Fetch the pinned ones for this platform, whatever the machine has or is.
        #[arg(long)]
        platform: Option<Platform>,
        /// Also fetch the Python packages that judge exported models.
        #[arg(long)]
        python: bool,
    },
    /// Run a federation on this machine: twelve stations in three regions, or your own model and data.
    Demo(DemoArguments),
    /// Build the images and finish rounds in containers, on networks of their own.
    Docker(DockerArguments),
    /// Fetch what is missing and run every test.
    Test(TestArguments),
    /// Run the tests of training and of the device's agent without ONNX Runtime, on tract.
    Tract,
    /// Measure: a local step, the exact sum, a round; side by side in one run, as ratios.
    Bench(BenchArguments),
    /// Check the dependency table, the inner layers' purity and the project's habits.
    Tidy,
    /// Check licences, bans, sources and advisories of the dependencies.
    SupplyChain,
    /// Run a command and end it when standard input closes.
    Guard {
        /// How long the command may take over its own end before it is killed.
        #[arg(long, default_value_t = guard::GRACE_MS)]
        grace_ms: u64,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Become a command that dies with its guard: the inner half of guard.
    #[command(hide = true)]
    Guarded {
        #[arg(long)]
        guard: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        // Not Debug: a backtrace into our own code helps nobody who reads it.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Fetch { platform, python } => fetch(platform, python)?,
        Task::Demo(arguments) => demo::run(&workspace::root()?, &arguments)?,
        Task::Docker(arguments) => docker::run(&workspace::root()?, &arguments)?,
        Task::Bench(arguments) => bench::run(&workspace::root()?, &arguments)?,
        Task::Test(arguments) => {
            return Ok(verdict(testing::run(&workspace::root()?, &arguments)?));
        }
        Task::Tract => return Ok(verdict(tract::run(&workspace::root()?)?)),
        Task::SupplyChain => return Ok(verdict(supply_chain::run(&workspace::root()?)?)),
        Task::Tidy => return tidy(),
        Task::Guard { grace_ms, command } => {
            let code = guard::run(&command, Duration::from_millis(grace_ms))?;
            return Ok(ExitCode::from(code));
        }
        Task::Guarded { guard, command } => guard::become_guarded(&command, guard)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch(platform: Option<Platform>, python: bool) -> Result<()> {
    let root = workspace::root()?;
    let tools = match platform {
        Some(platform) => fetch::pinned_tools(&root, platform)?,
        None => fetch::tools(&root)?,
    };
    println!("nats-server   {}", tools.nats_server.display());
    println!("onnxruntime   {}", tools.onnxruntime.display());
    if python {
        let mut python = PythonRuntime::find(&root)?.command();
        let script = "import onnxruntime; print(onnxruntime.__file__)";
        let place = run_to_end(python.args(["-c", script]))?;
        println!("python's      {}", place.trim_end());
    }
    Ok(())
}

fn tidy() -> Result<ExitCode> {
    let findings = tidy::check(&workspace::root()?)?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(verdict(findings.is_empty()))
}

fn verdict(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
