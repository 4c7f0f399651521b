//! What lies where in a root's home folder.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use fl_model::{MemberId, ROOT_NAME};
use fl_runtime::keys::{self, KeyError};
use fl_runtime::store::{Access, write_atomic};
use fl_runtime::terminal::home_command;
use fl_wire::SigningKey;

/// A root's home folder.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// The folder as given on the command line.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The settings file.
    pub fn settings_file(&self) -> PathBuf {
        self.0.join("cloud-root.toml")
    }

    /// The signing key.
    pub fn key_file(&self) -> PathBuf {
        self.0.join("key")
    }

    /// The signed roster.
    pub fn roster_file(&self) -> PathBuf {
        self.0.join("roster.cbor")
    }

    /// Held by the command that changes the roster.
    pub fn roster_lock_file(&self) -> PathBuf {
        self.0.join("roster.lock")
    }

    /// Imported models.
    pub fn models_folder(&self) -> PathBuf {
        self.0.join("models")
    }

    /// Partials that could not be taken, with the reason.
    pub fn quarantine_folder(&self) -> PathBuf {
        self.0.join("quarantine")
    }

    /// What the root timed beside the log entries of the job's last round.
    pub fn times_file(&self, job: &fl_model::JobId) -> PathBuf {
        self.0.join("times").join(format!("{job}.json"))
    }

    /// Marks a job whose end was told to every region.
    pub fn ended_file(&self, job: &fl_model::JobId) -> PathBuf {
        self.0.join("ended").join(job.as_str())
    }

    /// The key, which `init` made.
    pub fn key(&self) -> anyhow::Result<SigningKey> {
        let key = keys::load(&self.key_file());
        if matches!(key, Err(KeyError::Missing { .. })) {
            ensure!(
                !self.settings_file().exists(),
                "the root's key {} is gone: restore it from a backup, for every fog and device pins it",
                self.key_file().display()
            );
            let folder = self.0.display();
            bail!(
                "{folder} is no root's home: make one with {}",
                self.command("init")
            );
        }
        Ok(key?)
    }

    /// A command for this home, as it can be pasted into a shell in any folder.
    pub fn command(&self, words: &str) -> String {
        home_command("cloud-root", words, &self.0)
    }
}

/// Writes a small file into a folder of the home, which is made where it is not there yet.
pub(crate) fn note(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    Ok(write_atomic(file, bytes, Access::Umask)?)
}

/// The name under which the root signs.
pub fn root_name() -> MemberId {
    // ROOT_NAME is four lower-case letters, which the rule for names allows.
    MemberId::new(ROOT_NAME).expect("the root's name is a valid name")
}
