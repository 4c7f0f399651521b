//! What earlier updates did not bring to the federation: error feedback.

use std::path::{Path, PathBuf};

use fl_model::{Digest, JobId, Outcome, RoundKey};
use fl_runtime::store::{Access, read_file, write_atomic};
use fl_wire::{Encoded as _, PendingUpdate, ResidualObject};

use super::LedgerError;
use crate::work::add;

/// The residual of the job that settled last; another job's is gone, for one job runs at a time.
#[derive(Debug)]
pub(super) struct Residual {
    path: PathBuf,
    object: Option<ResidualObject>,
}

impl Residual {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let damaged = |why: String| LedgerError::Damaged {
            path: path.to_owned(),
            why,
        };
        let bytes = read_file(path)?;
        let object = bytes.map(|bytes| ResidualObject::decode(&bytes));
        let object = object.transpose();
        let object = object.map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            object,
        })
    }

    /// The contribution whose outcome made it what it is.
    pub(super) fn absorbed(&self) -> Option<&RoundKey> {
        self.object.as_ref()?.absorbed.as_ref()
    }

    /// Counts the changes; none where it is not of that job and model.
    pub(super) fn number(&self, job: &JobId, model: &Digest) -> Option<u64> {
        let object = self.object.as_ref();
        let object = object.filter(|object| object.job == *job && object.model == *model)?;
        Some(object.number)
    }

    pub(super) fn coordinates(&self) -> &[Vec<f32>] {
        self.object
            .as_ref()
            .map_or(&[], |object| &object.coordinates)
    }

    /// Adds what the outcome leaves of an update to what `remains`, durably.
    pub(super) fn absorb(
        &mut self,
        key: &RoundKey,
        update: &PendingUpdate,
        outcome: Outcome,
        remains: Option<Vec<Vec<f32>>>,
    ) -> Result<(), LedgerError> {
        let of_update = self.number(&key.job, &update.model);
        let mut coordinates = match outcome {
            Outcome::Excluded(_) => update.coordinates.clone(),
            // It was encoded once already, from the same bits: the rounding error is the same.
            Outcome::Counted => match update.grid.encode(&update.coordinates) {
                Ok(encoded) => encoded.residual,
                Err(error) => {
                    return Err(LedgerError::Damaged {
                        path: self.path.clone(),
                        why: format!("the stored update of {key} cannot be encoded: {error}"),
                    });
                }
            },
        };
        if let Some(remains) = &remains {
            add(&mut coordinates, remains);
        }
        let object = ResidualObject {
            job: key.job.clone(),
            model: update.model,
            // Number 0 is what an update takes that found no residual.
            number: of_update.unwrap_or(0) + 1,
            absorbed: Some(key.clone()),
            coordinates,
        };
        let bytes = object.encode().map_err(|source| LedgerError::Unwritable {
            what: "the residual",
            source,
        })?;
        write_atomic(&self.path, &bytes, Access::Owner)?;
        self.object = Some(object);
        Ok(())
    }
}
