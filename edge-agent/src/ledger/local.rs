//! Parameters that the device keeps for itself: a file for each job, as its last settled training left them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fl_model::{JobId, Phase};
use fl_runtime::store::{Access, Outbox, StoreError, read_file, sync_folder, write_atomic};
use fl_wire::{Encoded as _, LocalObject, PendingObject};

use super::{LOCAL_FOLDER, LedgerError, OUTBOX_FOLDER};

/// Jobs whose parameters are kept; beyond them those go that were written longest ago.
const JOBS_MAX: usize = 16;

/// A device's own parameters of a job as its last training left them, out of a home whose agent may run; none
/// before the first.
///
/// # Errors
/// Every [`LedgerError`].
pub fn own_parameters(home: &Path, job: &JobId) -> Result<Option<LocalObject>, LedgerError> {
    // In this order: what is settled meanwhile is in the second before it leaves the first.
    let pending = pending(&home.join(OUTBOX_FOLDER), job)?;
    let settled = Locals::of(&home.join(LOCAL_FOLDER)).read(job)?;
    let both = pending.into_iter().chain(settled);
    Ok(both.max_by_key(|own| own.key.round))
}

/// Those of the newest training whose contribution is not settled.
fn pending(outbox: &Path, job: &JobId) -> Result<Option<LocalObject>, LedgerError> {
    let mut names = Vec::new();
    let (start, end) = (format!("{job}."), format!(".{}", Phase::Train));
    let entries = match fs::read_dir(outbox) {
        // An agent has never run here.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(StoreError::io("list", outbox))?,
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", outbox))?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if name.starts_with(&start) && name.ends_with(&end) {
            names.push(name);
        }
    }
    // Rounds have as many digits each.
    names.sort_unstable();
    for name in names.iter().rev() {
        let Some(bytes) = Outbox::look(outbox, name)? else {
            continue;
        };
        let object = PendingObject::decode(&bytes).map_err(|error| LedgerError::Damaged {
            path: outbox.join(name),
            why: error.to_string(),
        })?;
        if let Some(update) = object.update
            && !update.local.names.is_empty()
        {
            return Ok(Some(LocalObject {
                key: object.key,
                model: update.model,
                parameters: update.local,
            }));
        }
    }
    Ok(None)
}

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
        if !self.folder.is_dir() {
            fs::create_dir_all(&self.folder).map_err(failed)?;
            self.folder.parent().map_or(Ok(()), sync_folder)?;
        }
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
