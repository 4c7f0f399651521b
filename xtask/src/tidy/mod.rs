//! `xtask tidy`: what the compiler does not hold us to. Who may import whom, what the inner layers
//! must not touch, and the habits of the project.

mod habits;
mod imports;
mod layers;
mod source;
mod test_modules;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::test_modules::TestModules;

/// Larger files are data and are not read.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Something out of order, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the workspace's root.
    pub path: PathBuf,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.max(1);
        write!(out, "{}:{line}: {}", self.path.display(), self.message)
    }
}

/// A text file of the project.
struct TextFile {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

/// Every finding in the workspace at `root`, in order.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let paths = project_files(root)?;
    let files = read_texts(root, &paths)?;
    let graph = imports::Graph::read(root)?;
    let mut findings = BTreeSet::new();
    findings.extend(graph.findings());
    findings.extend(habits::top_level(&paths));
    let tests = TestModules::of(&files);
    for file in &files {
        findings.extend(habits::in_file(file, &tests));
    }
    findings.extend(layers::findings(&files, &tests, &graph));
    Ok(findings.into_iter().collect())
}

/// What git knows or would add; without git, everything but build products.
fn project_files(root: &Path) -> Result<Vec<PathBuf>> {
    if !root.join(".git").exists() {
        let mut paths = Vec::new();
        walk(root, Path::new(""), &mut paths)?;
        return Ok(paths);
    }
    let output = Command::new("git")
        .current_dir(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("cannot run git ls-files")?;
    if !output.status.success() {
        bail!(
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let listed = String::from_utf8(output.stdout).context("git lists a path that is not UTF-8")?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // Deleted but not yet committed files are still listed.
    Ok(paths
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect())
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let absolute = root.join(folder);
    for entry in fs::read_dir(&absolute).with_context(|| format!("{}", absolute.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let build_product = ["target", ".tools"]
            .iter()
            .any(|name| path == Path::new(name));
        if entry.file_type()?.is_dir() {
            if !build_product {
                walk(root, &path, paths)?;
            }
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn read_texts(root: &Path, paths: &[PathBuf]) -> Result<Vec<TextFile>> {
    let mut files = Vec::new();
    for path in paths {
        let absolute = root.join(path);
        let metadata = fs::metadata(&absolute).with_context(|| format!("{}", path.display()))?;
        if metadata.len() > TEXT_BYTES_MAX {
            continue;
        }
        let bytes = fs::read(&absolute).with_context(|| format!("{}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile {
                path: path.clone(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
