//! Modules under `#[cfg(test)]` that lie in files of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TextFile;
use super::layers::is_rust;
use super::source::{code_only, without_tests};

/// Paths of the modules' files without extension, which are those of their folders too.
pub(super) struct TestModules(BTreeSet<PathBuf>);

impl TestModules {
    /// Those that any of `files` declares.
    pub(super) fn of(files: &[TextFile]) -> Self {
        let mut stems = BTreeSet::new();
        for file in files.iter().filter(|file| is_rust(&file.path)) {
            let (_, modules) = without_tests(&code_only(&file.text));
            stems.extend(modules.iter().map(|name| stem(&file.path, name)));
        }
        Self(stems)
    }

    /// Whether a file belongs to one of them.
    pub(super) fn hold(&self, path: &Path) -> bool {
        let own = path.with_extension("");
        self.0.iter().any(|stem| own.starts_with(stem))
    }
}

/// Where the module `name`, declared in `file`, lies.
fn stem(file: &Path, name: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    if ["lib", "main", "mod"].iter().any(|root| stem == *root) {
        folder.join(name)
    } else {
        folder.join(stem).join(name)
    }
}
