//! The gateway of a region.

use std::process::ExitCode;

use clap::Parser as _;
use fog_aggregator::cli::Cli;

fn main() -> ExitCode {
    match fog_aggregator::cli::main(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
