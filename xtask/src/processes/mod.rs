//! Supervising the processes of a federation, for the demo and the end-to-end tests.
//!
//! Every child gets a pipe as standard input and `FL_EXIT_WITH_STDIN=1`: when we end, however we
//! end, the pipe closes and the child ends. A program that does not know this runs under
//! `xtask guard` ([`Spec::guarded`]).

mod fleet;
mod interrupt;
mod log;
mod ports;
mod spec;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub use fleet::{Failure, Fleet};
pub use interrupt::Interrupt;
pub use log::Log;
pub use ports::{free_port, free_ports};
pub use spec::Spec;

/// Makes our binaries end when their standard input closes.
pub const EXIT_WITH_STDIN: &str = "FL_EXIT_WITH_STDIN";

/// Runs a short command to its end and gives what it printed; a failure carries its error output.
pub fn run_to_end(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed no UTF-8"))
}
