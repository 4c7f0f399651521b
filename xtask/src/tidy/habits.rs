//! Habits that hold in every file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layers::is_rust;
use super::source::{code_only, without_tests};
use super::test_modules::TestModules;
use super::{Finding, TextFile};

/// A longer file is asking to be two.
const LINES_MAX: usize = 500;

/// How far above a panic its reason may stand.
const EXPLAINED_WITHIN_LINES: usize = 4;

/// Generated code, which nobody reads.
const GENERATED: &str = "src/proto";

/// What lies at the top of the repository; anything else belongs into one of these.
const TOP_LEVEL: [&str; 29] = [
    ".cargo",
    ".ci",
    ".dockerignore",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "cloud-root",
    "config",
    "crates",
    "data",
    "deny.toml",
    "docker",
    "docs",
    "edge-agent",
    "fog-aggregator",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "xtask",
];

/// Starts of absolute paths that exist on one machine only. In pieces, so that this file has none.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "Users/"),
    concat!("/", "work/"),
];

/// Inside an image absolute paths are the rule.
const IMAGES: &str = "docker";

pub(super) fn top_level(paths: &[PathBuf]) -> Vec<Finding> {
    let mut first_below: BTreeMap<&Path, &Path> = BTreeMap::new();
    for path in paths {
        if let Some(top) = path.iter().next() {
            first_below.entry(Path::new(top)).or_insert(path);
        }
    }
    first_below
        .into_iter()
        .filter(|(top, _)| !TOP_LEVEL.iter().any(|known| *top == Path::new(known)))
        .map(|(top, path)| {
            let message = format!(
                "{} is not part of the top-level layout: find its home below",
                top.display()
            );
            Finding::new(path, 0, message)
        })
        .collect()
}

pub(super) fn in_file(file: &TextFile, tests: &TestModules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let generated = file.path.to_string_lossy().contains(GENERATED);
    if is_rust(&file.path) && !generated {
        findings.extend(length(file));
        findings.extend(leftovers(file));
        if !is_for_tests(&file.path) && !tests.hold(&file.path) {
            findings.extend(unexplained_panics(file));
        }
    }
    if !file.path.starts_with(IMAGES) {
        findings.extend(machine_paths(file));
    }
    findings
}

fn length(file: &TextFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    (lines > LINES_MAX).then(|| {
        let message = format!("{lines} lines, more than {LINES_MAX}: make it two files");
        Finding::new(&file.path, LINES_MAX + 1, message)
    })
}

fn leftovers(file: &TextFile) -> Vec<Finding> {
    const LEFTOVERS: [(&str, &str); 4] = [
        ("todo!", "finish it, or leave it out"),
        ("unimplemented!", "finish it, or leave it out"),
        ("#[ignore", "a test runs, or is not there"),
        ("#![ignore", "a test runs, or is not there"),
    ];
    let code = code_only(&file.text);
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for (pattern, remedy) in LEFTOVERS {
            if line.contains(pattern) {
                let message = format!("{pattern} is left here: {remedy}");
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

/// Panics outside tests that no comment explains, on their line or just above.
fn unexplained_panics(file: &TextFile) -> Vec<Finding> {
    let (code, _) = without_tests(&code_only(&file.text));
    let written: Vec<&str> = file.text.lines().collect();
    let is_explained = |index: usize| {
        let first = index.saturating_sub(EXPLAINED_WITHIN_LINES);
        written[first..=index]
            .iter()
            .any(|line| line.contains("//"))
    };
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let panics = [".unwrap()", ".expect("]
            .iter()
            .any(|call| line.contains(call));
        if panics && !is_explained(index) {
            let message = "say in a comment why this cannot fail, or handle it";
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

/// Folders of tests, which may panic.
fn is_for_tests(path: &Path) -> bool {
    let has = |name: &str| path.iter().any(|part| part == name);
    has("tests") || has("benches")
}

fn machine_paths(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for pattern in MACHINE_PATHS {
            if line
                .match_indices(pattern)
                .any(|(at, _)| starts_path(&line[..at]))
            {
                let message = format!("a path below {pattern} exists on one machine only");
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether a slash after `before` starts an absolute path rather than continuing another.
fn starts_path(before: &str) -> bool {
    !before.ends_with(|last: char| last.is_alphanumeric() || "._-~*/}>)".contains(last))
}
