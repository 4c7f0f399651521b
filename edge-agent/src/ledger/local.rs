//! Parameters that the device keeps for itself: a file for each job, as its last settled training left them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fl_model::JobId;
use fl_runtime::store::{Access, StoreError, read_file, write_atomic};
use fl_wire::{Encoded as _, LocalObject};

use super::LedgerError;

/// Jobs whose parameters are kept; beyond them those go that were written longest ago.
const JOBS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Locals {
    folder: PathBuf,
}

impl Locals {
    /// Those in a folder, which need not be there yet.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// What was kept of a job.
    pub(super) fn read(&self, job: &JobId) -> Result<Option<LocalObject>, LedgerError> {
        let path = self.folder.join(job.as_str());
        let object = read_file(&path)?.map(|bytes| LocalObject::decode(&bytes));
        object.transpose().map_err(|error| LedgerError::Damaged {
            path,
            why: error.to_string(),
        })
    }

    /// Keeps them durably, unless a later round's are kept already.
    pub(super) fn keep(&self, object: &LocalObject) -> Result<(), LedgerError> {
        let job = &object.key.job;
        let before = match self.read(job) {
            // What is damaged is written anew.
            Err(LedgerError::Damaged { .. }) => None,
            before => before?,
        };
        let is_later = |before: LocalObject| before.key.round > object.key.round;
        if before.is_some_and(is_later) {
            return Ok(());
        }
        let bytes = object.encode().map_err(|source| LedgerError::Unwritable {
            what: "the device's own parameters",
            source,
        })?;
        let failed = |source| StoreError::Io {
            action: "keep",
            path: self.folder.clone(),
            source,
        };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        write_atomic(&self.folder.join(job.as_str()), &bytes, Access::Owner)?;
        self.prune().map_err(failed)?;
        Ok(())
    }

    fn prune(&self) -> Result<(), std::io::Error> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        for (_, path) in files.iter().rev().skip(JOBS_MAX) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
