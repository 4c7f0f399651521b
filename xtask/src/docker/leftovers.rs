//! What federations in containers leave on the machine: of one project, and of runs that were killed.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::processes::run_to_end;

/// By which compose marks what belongs to a project.
pub(super) const PROJECT_LABEL: &str = "com.docker.compose.project";
/// What the name of a project begins with that its run takes down; the run's process number follows.
const RUNNING: &str = "tributary-run-";
/// The same of one that stays up when its run has ended.
const KEPT: &str = "tributary-kept-";
/// How the engine lists all that a project consists of.
const LISTS: [(&str, &[&str]); 3] = [
    ("containers", &["ps", "--all"]),
    ("networks", &["network", "ls"]),
    ("volumes", &["volume", "ls"]),
];

/// The name of our own project.
pub(super) fn project_name(kept: bool) -> String {
    let prefix = if kept { KEPT } else { RUNNING };
    format!("{prefix}{}", std::process::id())
}

/// What there is of a project, in words; empty when it is gone.
pub(super) fn of(project: &str) -> Result<String> {
    let filter = format!("label={PROJECT_LABEL}={project}");
    let mut left = Vec::new();
    for (what, list) in LISTS {
        let mut command = Command::new("docker");
        let printed = run_to_end(command.args(list).args(["--quiet", "--filter", &filter]))?;
        if !printed.trim().is_empty() {
            left.push(format!("{what} {}", printed.trim().replace('\n', " ")));
        }
    }
    Ok(left.join(", "))
}

/// Projects whose run was killed before it could take them down.
pub(super) fn abandoned() -> Result<BTreeSet<String>> {
    let format = format!("{{{{.Label {PROJECT_LABEL:?}}}}}");
    let mut found = BTreeSet::new();
    for (_, list) in LISTS {
        let mut command = Command::new("docker");
        let printed = run_to_end(command.args(list).args(["--format", &format]))?;
        found.extend(printed.lines().map(str::to_owned));
    }
    found.retain(|project| is_abandoned(project, runs));
    Ok(found)
}

fn is_abandoned(project: &str, runs: impl Fn(u32) -> bool) -> bool {
    let number = project.strip_prefix(RUNNING).map(str::parse);
    matches!(number, Some(Ok(process)) if !runs(process))
}

/// Whether a process with this number is an xtask; numbers are given out again.
fn runs(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm"))
        .is_ok_and(|name| name.trim() == env!("CARGO_PKG_NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_run_has_left_is_abandoned() {
        let check = |project: &str, expected: bool| {
            let found = is_abandoned(project, |process| process == 7);
            assert_eq!(found, expected, "{project}");
        };
        check("tributary-run-8", true);
        check("tributary-run-7", false);
        check("tributary-kept-8", false);
        check("tributary-run-", false);
        check("tributary", false);
        check("somebody-run-8", false);
    }

    #[test]
    fn a_process_that_is_no_xtask_is_no_run() {
        assert!(!runs(1), "init");
        assert!(!runs(u32::MAX), "nobody");
    }
}
