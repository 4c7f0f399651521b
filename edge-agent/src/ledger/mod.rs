//! What a device must not forget: contributions that are not settled, the residual, its place in the job.
//!
//! Contributions lie in the outbox, one file each; `residual` and `state.json` lie beside it. A
//! contribution and its candidate for the residual are one file, so they are stored in one step. When its
//! outcome is known, the residual is written first and names the contribution that it has absorbed: after
//! a crash between that and the removal, the contribution is removed and not absorbed again.
//!
//! Let r be the residual when an update u (with r in it, clipped) is encoded as q with rounding error e.
//! - Stored: r is part of u now, so what remains is 0. The entry names the r that it took by number.
//! - Counted: e was not counted. It is added to what remains.
//! - Excluded: nothing of u was counted. The whole of u is added to what remains.
//!
//! Nothing is counted twice and nothing is lost, also while several contributions are outstanding.
//!
//! Parameters that do not travel are stored in the same step as the contribution of the training that gave
//! them, and from then on count for what follows, whatever becomes of the contribution: they owe the
//! federation nothing. A training that a crash interrupted is done again from those of before, to the same
//! bits. When a contribution is settled, they move to `local/JOB` before its file goes.

mod local;
mod residual;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fl_model::{Digest, Epoch, Grid, JobId, Outcome, RoundKey};
use fl_runtime::store::{Outbox, StoreError};
use fl_wire::{
    Encoded as _, LocalObject, LocalParameters, PendingObject, PendingUpdate, WireError,
};

use local::Locals;
pub use local::own_parameters;
use residual::Residual;
pub use state::Snapshot;
use state::State;

/// Name of the file with the epoch and the device's place in the job.
pub const STATE_FILE: &str = "state.json";

/// Folder of the contributions that are not settled, in a home.
const OUTBOX_FOLDER: &str = "outbox";

/// Folder of the parameters that the device keeps for itself, in a home.
const LOCAL_FOLDER: &str = "local";

/// Why the ledger cannot be kept: the process cannot go on without it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk, or its bound.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of ours that cannot be read again.
    #[error("{} is damaged ({why}): restore it from a backup, or remove it to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A value that cannot be written: a fault of this program.
    #[error("cannot write down {what}: {source}")]
    Unwritable {
        /// What was to be written.
        what: &'static str,
        /// Why.
        source: WireError,
    },
}

/// A contribution that is not settled, as far as it is needed in memory.
#[derive(Debug, Clone)]
struct Pending {
    digest: Digest,
    /// Job, model and number of the residual that it took.
    took: Option<(JobId, Digest, u64)>,
    /// Whether it brought device-local parameters.
    has_local: bool,
}

/// A train phase's update as it is stored beside its signed bytes.
#[derive(Debug, Clone)]
pub struct Update {
    /// SHA-256 of the ONNX model.
    pub model: Digest,
    /// The plan's grid.
    pub grid: Grid,
    /// Its coordinates per tensor before they were rounded.
    pub coordinates: Vec<Vec<f32>>,
    /// The device-local parameters that the training gave; none where all travel.
    pub local: LocalParameters,
}

/// The ledger of a device. Every change returns when it survives a crash.
#[derive(Debug)]
pub struct Ledger {
    outbox: Outbox,
    state: State,
    residual: Residual,
    locals: Locals,
    pending: BTreeMap<RoundKey, Pending>,
}

/// Name of a contribution's file: job names hold no point.
fn entry_name(key: &RoundKey) -> String {
    format!("{}.{:010}.{}", key.job, key.round.0, key.phase)
}

impl Ledger {
    /// Opens the ledger in `folder`, and finishes what a crash interrupted.
    ///
    /// # Errors
    /// Every [`LedgerError`]. A contribution whose file is damaged is set aside with a warning: its round
    /// counts this device as absent. One that cannot be read just now is an error, and stays.
    pub fn open(folder: &Path, outbox_bytes_max: u64) -> Result<Self, LedgerError> {
        let outbox = Outbox::open(&folder.join(OUTBOX_FOLDER), outbox_bytes_max)?;
        let mut ledger = Self {
            outbox,
            state: State::open(&folder.join(STATE_FILE))?,
            residual: Residual::open(&folder.join("residual"))?,
            locals: Locals::of(&folder.join(LOCAL_FOLDER)),
            pending: BTreeMap::new(),
        };
        for name in ledger.outbox.keys() {
            match ledger.read(&name) {
                Ok(Some(object)) => ledger.remember(&object),
                Ok(None) => {}
                Err(error @ LedgerError::Store(StoreError::Io { .. })) => return Err(error),
                Err(error) => ledger.set_aside(&name, &error)?,
            }
        }
        if let Some(key) = ledger.residual.absorbed().cloned() {
            ledger.drop_entry(&key)?;
        }
        Ok(ledger)
    }

    /// The highest epoch that was accepted.
    pub fn epoch(&self) -> Epoch {
        self.state.epoch()
    }

    /// The newest phase that is over for this device.
    pub fn last(&self) -> Option<&RoundKey> {
        self.state.last()
    }

    /// The contributions that are not settled.
    pub fn outstanding(&self) -> Vec<RoundKey> {
        self.pending.keys().cloned().collect()
    }

    /// The rows that a round began with, where it is the round of the last one noted.
    pub fn snapshot(&self, job: &JobId, round: u32) -> Option<&Snapshot> {
        self.state.snapshot(job, round)
    }

    /// The rows that were noted last.
    pub fn last_snapshot(&self) -> Option<&Snapshot> {
        self.state.last_snapshot()
    }

    /// Remembers with which rows a round began.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub fn save_snapshot(&mut self, snapshot: Snapshot) -> Result<(), LedgerError> {
        self.state.change(|state| state.data = Some(snapshot))
    }

    /// Remembers that no lower epoch counts.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub fn save_epoch(&mut self, epoch: Epoch) -> Result<(), LedgerError> {
        self.state.change(|state| state.epoch = epoch.0)
    }

    /// What earlier updates for that model did not bring to the federation, and no stored one carries.
    pub fn residual(&self, job: &JobId, model: &Digest) -> Option<&[Vec<f32>]> {
        let number = self.residual.number(job, model)?;
        let taken = (job.clone(), *model, number);
        let free = self
            .pending
            .values()
            .all(|p| p.took.as_ref() != Some(&taken));
        free.then(|| self.residual.coordinates())
    }

    /// The device's own parameters of a job and model, as the last training whose contribution was stored
    /// left them; none before the first.
    ///
    /// # Errors
    /// Every [`LedgerError`].
    pub fn local(
        &self,
        job: &JobId,
        model: &Digest,
    ) -> Result<Option<LocalParameters>, LedgerError> {
        let settled = match self.locals.read(job) {
            Err(error @ LedgerError::Damaged { .. }) => {
                tracing::warn!("{error}: beginning with those of the model");
                None
            }
            settled => settled?.filter(|own| own.model == *model),
        };
        let mut pending = self.pending.iter().rev();
        let newest = pending.find(|(key, pending)| key.job == *job && pending.has_local);
        if let Some((key, _)) = newest
            && settled.as_ref().is_none_or(|own| own.key.round < key.round)
            && let Some(update) = self
                .read(&entry_name(key))?
                .and_then(|object| object.update)
            && update.model == *model
        {
            return Ok(Some(update.local));
        }
        Ok(settled.map(|own| own.parameters))
    }

    /// Stores a contribution's signed bytes and, in a train phase, its update, in one step.
    ///
    /// # Errors
    /// [`LedgerError::Store`], after which nothing is stored.
    pub fn store(
        &mut self,
        key: &RoundKey,
        sealed: Vec<u8>,
        update: Option<Update>,
    ) -> Result<(), LedgerError> {
        let pending = |update: Update| PendingUpdate {
            takes: self.residual.number(&key.job, &update.model).unwrap_or(0),
            model: update.model,
            grid: update.grid,
            coordinates: update.coordinates,
            local: update.local,
        };
        let object = PendingObject {
            key: key.clone(),
            sealed,
            update: update.map(pending),
        };
        let bytes = object.encode().map_err(|source| LedgerError::Unwritable {
            what: "a contribution",
            source,
        })?;
        self.outbox.put(&entry_name(key), &bytes)?;
        self.remember(&object);
        Ok(())
    }

    /// The signed bytes of a contribution that is not settled.
    ///
    /// # Errors
    /// Every [`LedgerError`].
    pub fn sealed(&self, key: &RoundKey) -> Result<Option<Vec<u8>>, LedgerError> {
        if !self.pending.contains_key(key) {
            return Ok(None);
        }
        Ok(self.read(&entry_name(key))?.map(|object| object.sealed))
    }

    /// SHA-256 of the signed bytes of a contribution that is not settled.
    pub fn digest(&self, key: &RoundKey) -> Option<Digest> {
        self.pending.get(key).map(|pending| pending.digest)
    }

    /// The contribution with these signed bytes, where it is not settled.
    pub fn find(&self, digest: &Digest) -> Option<&RoundKey> {
        let mut all = self.pending.iter();
        all.find(|(_, pending)| pending.digest == *digest)
            .map(|(key, _)| key)
    }

    /// Commits the residual as the outcome says, remembers `last`, and deletes the contribution.
    ///
    /// # Errors
    /// Every [`LedgerError`]; calling again, or opening again, finishes what was begun.
    pub fn forget(
        &mut self,
        key: &RoundKey,
        outcome: Outcome,
        last: Option<&RoundKey>,
    ) -> Result<(), LedgerError> {
        if let Some(object) = self.read(&entry_name(key))?
            && let Some(update) = &object.update
        {
            // Before the residual says that all of it is done.
            if !update.local.names.is_empty() {
                self.locals.keep(&LocalObject {
                    key: key.clone(),
                    model: update.model,
                    parameters: update.local.clone(),
                })?;
            }
            let remains = self.residual(&key.job, &update.model).map(<[_]>::to_vec);
            self.residual.absorb(key, update, outcome, remains)?;
        }
        let last = last.cloned();
        self.state.change(|state| state.set_last(last.as_ref()))?;
        self.drop_entry(key)
    }

    fn set_aside(&self, name: &str, why: &LedgerError) -> Result<(), LedgerError> {
        if let Some(aside) = self.outbox.set_aside(name)? {
            tracing::warn!(
                "a stored contribution is not sent: {why}; it is now {}: its round goes on without this \
                 device, unless the agent that wrote it is started again with the file under its old name",
                aside.display()
            );
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<PendingObject>, LedgerError> {
        let Some(bytes) = self.outbox.get(name)? else {
            return Ok(None);
        };
        let object = PendingObject::decode(&bytes);
        object.map(Some).map_err(|error| LedgerError::Damaged {
            path: PathBuf::from(name),
            why: error.to_string(),
        })
    }

    fn remember(&mut self, object: &PendingObject) {
        let update = object.update.as_ref();
        let took = update.map(|update| (object.key.job.clone(), update.model, update.takes));
        let digest = Digest::of(&object.sealed);
        self.pending.insert(
            object.key.clone(),
            Pending {
                digest,
                took,
                has_local: update.is_some_and(|update| !update.local.names.is_empty()),
            },
        );
    }

    fn drop_entry(&mut self, key: &RoundKey) -> Result<(), LedgerError> {
        self.outbox.remove(&entry_name(key))?;
        self.pending.remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
