//! The inner layers' source names no runtime, socket, file, environment or clock.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::imports::{Graph, Member};
use super::source::{code_only, named_paths, without_tests};
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

pub(super) fn findings(files: &[TextFile], graph: &Graph) -> Vec<Finding> {
    let inner = graph
        .members
        .iter()
        .filter(|member| member.layer.is_some_and(|layer| layer.is_inner()));
    inner.flat_map(|member| in_member(member, files)).collect()
}

fn in_member(member: &Member, files: &[TextFile]) -> Vec<Finding> {
    let source = member.folder.join("src");
    let own: Vec<&TextFile> = files
        .iter()
        .filter(|file| file.path.starts_with(&source) && is_rust(&file.path))
        .collect();
    let mut stripped = Vec::new();
    let mut test_files = BTreeSet::new();
    for file in own {
        let (code, modules) = without_tests(&code_only(&file.text));
        test_files.extend(modules.iter().map(|name| module_stem(&file.path, name)));
        stripped.push((file.path.as_path(), code));
    }
    stripped
        .iter()
        .filter(|(path, _)| !lies_in(path, &test_files))
        .flat_map(|(path, code)| in_code(&member.name, path, code))
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

/// Where the module `name`, declared in `file`, lies: the path of its file without extension,
/// which is its folder's too.
fn module_stem(file: &Path, name: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    if ["lib", "main", "mod"].iter().any(|root| stem == *root) {
        folder.join(name)
    } else {
        folder.join(stem).join(name)
    }
}

fn lies_in(path: &Path, stems: &BTreeSet<PathBuf>) -> bool {
    let own = path.with_extension("");
    stems.iter().any(|stem| own.starts_with(stem))
}
