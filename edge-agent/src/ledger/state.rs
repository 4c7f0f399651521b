//! The few facts of a device that are neither contribution nor residual.

use std::path::{Path, PathBuf};

use fl_model::{Digest, Epoch, JobId, Phase, RoundKey, RoundNumber};
use fl_runtime::store::{Access, read_file, write_atomic};
use serde::{Deserialize, Serialize};

use super::LedgerError;

/// With which rows a round began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The job's name.
    pub job: String,
    /// The round.
    pub round: u32,
    /// [`crate::data::LocalData::digest`] of them, in hexadecimal digits.
    pub sha256: String,
    /// First and one past the last byte of the file, or row of the ring; all there is where it is not said.
    #[serde(default)]
    pub extent: Option<(u64, u64)>,
}

impl Snapshot {
    /// The rows with that digest, in that round.
    pub fn new(job: &JobId, round: u32, digest: &Digest, extent: (u64, u64)) -> Self {
        Self {
            job: job.to_string(),
            round,
            sha256: digest.to_string(),
            extent: Some(extent),
        }
    }
}

/// `state.json`: small, and readable by a person who looks for trouble.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StateFile {
    pub(super) epoch: u64,
    last: Option<Place>,
    pub(super) data: Option<Snapshot>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    job: String,
    round: u32,
    phase: String,
}

impl StateFile {
    pub(super) fn set_last(&mut self, last: Option<&RoundKey>) {
        self.last = last.map(|key| Place {
            job: key.job.to_string(),
            round: key.round.0,
            phase: key.phase.to_string(),
        });
    }
}

impl Place {
    fn key(&self) -> Option<RoundKey> {
        let phase = Phase::ALL.into_iter().find(|p| p.as_str() == self.phase);
        Some(RoundKey {
            job: JobId::new(&self.job).ok()?,
            round: RoundNumber(self.round),
            phase: phase?,
        })
    }
}

#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    file: StateFile,
    last: Option<RoundKey>,
}

impl State {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let damaged = |why: String| LedgerError::Damaged {
            path: path.to_owned(),
            why,
        };
        let file: StateFile = match read_file(path)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?,
            None => StateFile::default(),
        };
        let last = match &file.last {
            Some(place) => {
                let key = place.key();
                Some(key.ok_or_else(|| damaged("`last` names no phase of a job".to_owned()))?)
            }
            None => None,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            last,
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.file.epoch)
    }

    pub(super) fn last(&self) -> Option<&RoundKey> {
        self.last.as_ref()
    }

    pub(super) fn snapshot(&self, job: &JobId, round: u32) -> Option<&Snapshot> {
        self.last_snapshot()
            .filter(|data| data.job == job.as_str() && data.round == round)
    }

    pub(super) fn last_snapshot(&self) -> Option<&Snapshot> {
        self.file.data.as_ref()
    }

    /// Changes the file durably.
    pub(super) fn change(
        &mut self,
        change: impl FnOnce(&mut StateFile),
    ) -> Result<(), LedgerError> {
        let mut file = self.file.clone();
        change(&mut file);
        // Texts and numbers under fixed names: writing them as JSON cannot fail.
        let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        write_atomic(&self.path, &text, Access::Umask)?;
        self.last = file.last.as_ref().and_then(Place::key);
        self.file = file;
        Ok(())
    }
}
