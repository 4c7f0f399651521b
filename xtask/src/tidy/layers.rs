//! The inner layers' source names no runtime, socket, file, environment or clock.

use std::path::Path;

use super::imports::{Graph, Member};
use super::source::{code_only, named_paths, without_tests};
use super::test_modules::TestModules;
use super::{Finding, TextFile};

/// Paths that the inner layers must not name, and what to do instead.
const OUTSIDE: [(&str, &str); 12] = [
    ("tokio", "a machine returns effects; its shell runs them"),
    ("async_nats", "the shell talks to the buses"),
    ("rumqttc", "the shell talks to the buses"),
    ("std::net", "the shell opens sockets"),
    ("std::os::unix::net", "the shell opens sockets"),
    ("std::fs", "the shell reads and writes files"),
    (
        "std::env",
        "the shell reads the environment and hands values in",
    ),
    ("std::process", "the shell starts and ends processes"),
    ("std::thread", "the shell owns threads"),
    ("SystemTime", "time comes in as an argument"),
    ("std::time::SystemTime", "time comes in as an argument"),
    ("Instant::now", "time comes in as an argument"),
];

pub(super) fn findings(files: &[TextFile], tests: &TestModules, graph: &Graph) -> Vec<Finding> {
    let inner = graph
        .members
        .iter()
        .filter(|member| member.layer.is_some_and(|layer| layer.is_inner()));
    inner
        .flat_map(|member| in_member(member, files, tests))
        .collect()
}

fn in_member(member: &Member, files: &[TextFile], tests: &TestModules) -> Vec<Finding> {
    let source = member.folder.join("src");
    files
        .iter()
        .filter(|file| file.path.starts_with(&source) && is_rust(&file.path))
        .filter(|file| !tests.hold(&file.path))
        .flat_map(|file| {
            let (code, _) = without_tests(&code_only(&file.text));
            in_code(&member.name, &file.path, &code)
        })
        .collect()
}

fn in_code(member: &str, path: &Path, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, named) in named_paths(code) {
        if let Some((outside, remedy)) = OUTSIDE.iter().find(|(outside, _)| names(&named, outside))
        {
            let message = format!("{member} must not name {outside}: {remedy}");
            findings.push(Finding::new(path, line, message));
        }
    }
    findings
}

/// Whether `path` is `outside` or lies below it; a bare type or function may carry any prefix.
fn names(path: &str, outside: &str) -> bool {
    let padded = format!("{path}::");
    let wanted = format!("{outside}::");
    let bare = outside.starts_with(char::is_uppercase);
    padded.starts_with(&wanted) || (bare && padded.contains(&format!("::{wanted}")))
}

pub(super) fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}
