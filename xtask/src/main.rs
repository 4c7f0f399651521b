//! `cargo xtask`: everything that is done to the project, in one place.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::fetch::{self, Platform};
use xtask::workspace;

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
        Task::Fetch { platform } => fetch(platform)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch(platform: Option<Platform>) -> Result<()> {
    let root = workspace::root()?;
    let tools = match platform {
        Some(platform) => fetch::pinned_tools(&root, platform)?,
        None => fetch::tools(&root)?,
    };
    println!("nats-server   {}", tools.nats_server.display());
    println!("onnxruntime   {}", tools.onnxruntime.display());
    Ok(())
}
