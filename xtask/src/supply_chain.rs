//! `xtask supply-chain`: licences, bans and sources of every dependency, and known vulnerabilities.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace;

/// One question that an outside tool answers.
struct Check {
    tool: &'static str,
    arguments: &'static [&'static str],
    asks: &'static str,
    /// What it prints when the advisory database cannot be had: then nothing was checked.
    unreachable: &'static [&'static str],
}

const CHECKS: [Check; 3] = [
    Check {
        tool: "cargo-deny",
        arguments: &["deny", "check", "licenses", "bans", "sources"],
        asks: "licences, bans and sources",
        unreachable: &[],
    },
    Check {
        tool: "cargo-deny",
        arguments: &["deny", "check", "advisories"],
        asks: "known vulnerabilities (cargo-deny)",
        unreachable: &[
            "failed to fetch advisory database",
            "failed to load advisory database",
        ],
    },
    Check {
        tool: "cargo-audit",
        arguments: &["audit"],
        asks: "known vulnerabilities (cargo-audit)",
        unreachable: &["couldn't fetch advisory database", "git operation failed"],
    },
];

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    NotRun,
}

/// Runs every check whose tool is installed; `false` when one found something. What could not be
/// checked is said, and is no pass.
pub fn run(root: &Path) -> Result<bool> {
    let mut summary = Vec::new();
    for check in &CHECKS {
        let (verdict, word) = check.run(root)?;
        summary.push((verdict, format!("{}: {word}", check.asks)));
    }
    println!();
    for (_, line) in &summary {
        println!("{line}");
    }
    Ok(summary
        .iter()
        .all(|(verdict, _)| *verdict != Verdict::Failed))
}

impl Check {
    fn run(&self, root: &Path) -> Result<(Verdict, String)> {
        let installed = Command::new(self.tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if installed.is_err() {
            let tool = self.tool;
            let word =
                format!("NOT CHECKED, {tool} is not installed (cargo install --locked {tool})");
            return Ok((Verdict::NotRun, word));
        }
        let output = workspace::cargo_command(root)
            .args(self.arguments)
            .output()
            .with_context(|| format!("cannot run {}", self.tool))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        print!("{text}");
        Ok(self.judge(output.status.success(), &text))
    }

    fn judge(&self, success: bool, text: &str) -> (Verdict, String) {
        if success {
            return (Verdict::Passed, "passed".to_owned());
        }
        if self.unreachable.iter().any(|words| text.contains(words)) {
            let word = "NOT CHECKED, the advisory database is out of reach".to_owned();
            return (Verdict::NotRun, word);
        }
        (Verdict::Failed, "FAILED, see above".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_database_excuses() {
        let check = |success: bool, text: &str, expected: Verdict| {
            assert_eq!(CHECKS[1].judge(success, text).0, expected, "{text}");
        };
        check(true, "advisories ok", Verdict::Passed);
        check(false, "error[vulnerability]: a bad one", Verdict::Failed);
        check(
            false,
            "failed to fetch advisory database: no route",
            Verdict::NotRun,
        );
        assert_eq!(
            CHECKS[0]
                .judge(false, "failed to fetch advisory database")
                .0,
            Verdict::Failed
        );
    }
}
