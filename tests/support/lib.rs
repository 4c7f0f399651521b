//! What the end-to-end tests share: federations and demos of real processes, and judges of what they leave.

mod claims;
mod demo;
mod digits;
mod judge;
mod stage;
mod traces;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use xtask::demo::CLOUD_ROOT;
use xtask::processes::run_to_end;
use xtask::workspace;

pub use claims::{Claim, claims, weights};
pub use demo::{Demo, processes_of};
pub use digits::draw_digits;
pub use judge::{How, Verdict, accuracy, python_verdicts};
pub use stage::{
    Stage, fixed_round, hospitals, hospitals_job, some_stations, stations, stations_job,
};
pub use traces::{Collector, assert_traces_are_clean, of_trace, outline};

/// A loaded machine must not fail a test.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The workspace.
pub fn root() -> PathBuf {
    workspace::root().expect("a checkout")
}

/// The folder of the built programs.
pub fn binaries() -> PathBuf {
    let program = workspace::binary_for_test(CLOUD_ROOT).expect("built programs");
    program.parent().expect("a folder").to_path_buf()
}

/// Sends a signal, by its name, to a process.
pub fn signal(name: &str, pid: u32) {
    run_to_end(Command::new("kill").args(["-s", name, &pid.to_string()]))
        .expect("a running process");
}

/// Runs a command line as a user pastes it into a shell, and gives what it printed.
pub fn paste(line: &str) -> String {
    run_to_end(Command::new("sh").args(["-c", line])).expect("a command that succeeds")
}
