//! How one child is started, and started again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A child's name, program, arguments and environment.
#[derive(Debug, Clone)]
pub struct Spec {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) folder: Option<PathBuf>,
    pub(super) guard: Option<PathBuf>,
}

impl Spec {
    /// A child called `name` (unique in its fleet, fit for a file name) that runs `program`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            guard: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it in this folder instead of ours.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs it under `xtask guard`, `xtask` being that binary's path: for programs that do not
    /// end with their standard input by themselves.
    #[must_use]
    pub fn guarded(mut self, xtask: impl Into<PathBuf>) -> Self {
        self.guard = Some(xtask.into());
        self
    }

    /// What is executed: the program, or the guard with the program behind it.
    pub(super) fn command_line(&self) -> (&Path, Vec<OsString>) {
        let Some(guard) = &self.guard else {
            return (&self.program, self.arguments.clone());
        };
        let mut arguments: Vec<OsString> = vec!["guard".into(), "--".into()];
        arguments.push(self.program.clone().into());
        arguments.extend(self.arguments.iter().cloned());
        (guard, arguments)
    }
}
