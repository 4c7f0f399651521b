//! The gateway of a region.

use std::process::ExitCode;

use clap::Parser as _;
use fl_runtime::terminal::fail;
use fog_aggregator::cli::Cli;

fn main() -> ExitCode {
    match fog_aggregator::cli::main(Cli::parse()) {
        Ok(code) => code,
        Err(error) => fail("fog-aggregator: error", error.as_ref()),
    }
}
