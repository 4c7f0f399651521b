//! The rows of a round: fixed on disk when it begins here, so that a restart in its middle finds them again.
//!
//! Of a file or a folder, what the job reads is kept as [`super::keep`] says; a ring's segments are linked.
//! There is one snapshot. A ring's goes when its round is over: while it is there, the ring's own removals free
//! nothing. Any other stays for the next round as long as nothing has changed, so that data that rest are written
//! once and not in each round; and goes with its job.
//!
//! Arrays that are of several moments pair examples with labels of others: files that somebody writes while they
//! are copied or read are seen by their stamps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fl_model::{DataSpec, Inputs, JobId, Reason, Split};
use fl_runtime::store::{StoreError, sync_folder};

use super::keep::{By, keep};
use super::stamp;
use super::worker::lock;
use crate::data::{self, DataError, LocalData};
use crate::feed::Counts;
use crate::ledger::Snapshot;
use crate::ring::{Ring, RingText, remove_folder};
use crate::work::Failure;

/// Folder of the snapshot in a home.
pub(super) const SNAPSHOT_FOLDER: &str = "snapshot";

/// Folder of a snapshot that is being taken.
const PART_FOLDER: &str = "snapshot.part";

/// Where a device's rows come from.
pub(super) enum Source {
    /// A file or folder that somebody else writes.
    File(PathBuf),
    /// What a command gives.
    Ring {
        ring: Arc<Mutex<Ring>>,
        /// How many rows of it count at most.
        rows_max: u64,
        counts: Arc<Counts>,
    },
}

/// Which part of the source was fixed: bytes of the file, or numbers of rows of the ring; first, and one
/// past the last.
pub(super) type Extent = (u64, u64);

/// What changes when the source does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stamp {
    File(stamp::Stamp),
    /// With the header: rows under two of them may have the same numbers.
    Ring(Extent, Vec<u8>),
}

/// Rows that are fixed.
pub(super) struct Fixed {
    pub(super) extent: Extent,
    /// None where a change may not show.
    pub(super) stamp: Option<Stamp>,
}

/// What is to be looked at to tell whether rows changed while they were read.
enum Watched {
    /// They cannot: they are in files of our own.
    Nothing,
    /// They did, while they were copied.
    Changed,
    /// The links there.
    Links(PathBuf),
    /// The source itself.
    Source,
}

/// Rows that were fixed anew.
struct Taken {
    fixed: Fixed,
    watched: Watched,
    /// Whether they are there after a restart.
    is_kept: bool,
}

/// The source of a device's rows, and the snapshot of the round in progress. To fix, read and release them takes as
/// long as the disk does.
pub(super) struct RoundRows {
    pub(super) source: Source,
    split: Option<Split>,
    home: PathBuf,
    kept: Option<Kept>,
    /// Whether it was said that the files cannot be kept.
    said_unkept: bool,
}

/// What the snapshot on disk is of.
struct Kept {
    job: JobId,
    round: u32,
    spec: DataSpec,
    /// While the source has this one, the next round takes it over.
    stamp: Option<Stamp>,
    /// That of the source before it was kept.
    before: Option<Stamp>,
    /// Where the file or folder lay, whatever links led there.
    real: PathBuf,
    watched: Watched,
}

impl RoundRows {
    pub(super) fn new(source: Source, split: Option<Split>, home: &Path) -> Self {
        Self {
            source,
            split,
            home: home.to_owned(),
            kept: None,
            said_unkept: false,
        }
    }

    /// What the rows are called in messages.
    pub(super) fn place(&self) -> PathBuf {
        match &self.source {
            Source::File(file) => file.clone(),
            Source::Ring { ring, .. } => lock(ring).folder().to_owned(),
        }
    }

    /// How a command fares, where the rows are one's.
    pub(super) fn counts(&self) -> Option<&Counts> {
        match &self.source {
            Source::File(_) => None,
            Source::Ring { counts, .. } => Some(counts),
        }
    }

    /// Fixes the rows as they are now, for a round.
    ///
    /// # Errors
    /// The snapshot cannot be written.
    pub(super) fn fix(
        &mut self,
        job: &JobId,
        round: u32,
        spec: &DataSpec,
    ) -> Result<Fixed, Failure> {
        let (now, real) = (SystemTime::now(), self.real());
        let before = self.stamp(&real, spec);
        let kept = self.kept.take();
        let kept = kept.filter(|kept| before.is_some() && kept.stamp == before);
        let Taken {
            fixed,
            watched,
            is_kept,
        } = match kept {
            Some(kept) => Taken {
                fixed: Fixed {
                    extent: self.extent(&real, before.as_ref()),
                    stamp: before.clone(),
                },
                watched: kept.watched,
                is_kept: true,
            },
            None => self
                .take(&real, before.clone(), now, spec)
                .map_err(|error| {
                    Failure::new(
                        Reason::DataUnusable,
                        format!("the rows of the round cannot be kept: {error}"),
                    )
                })?,
        };
        self.kept = Some(Kept {
            job: job.clone(),
            round,
            spec: spec.clone(),
            stamp: fixed.stamp.clone().filter(|_| is_kept),
            before,
            real,
            watched,
        });
        Ok(fixed)
    }

    /// Whether arrays or images that were fixed and read may be of several moments.
    pub(super) fn is_torn(&self) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        // A CSV may grow: what it was is a prefix of it.
        matches!(kept.spec.inputs, Inputs::Tensors(_))
            && match &kept.watched {
                Watched::Nothing => false,
                Watched::Changed => true,
                Watched::Links(place) => match (self.stamp(place, &kept.spec), &kept.before) {
                    (Some(Stamp::File(now)), Some(Stamp::File(before))) => {
                        !now.is_written_as(before)
                    }
                    (now, before) => now != *before,
                },
                Watched::Source => self.stamp(&kept.real, &kept.spec) != kept.before,
            }
    }

    /// The file or folder that the source's name leads to now.
    fn real(&self) -> PathBuf {
        let place = self.place();
        fs::canonicalize(&place).unwrap_or(place)
    }

    fn stamp(&self, place: &Path, spec: &DataSpec) -> Option<Stamp> {
        match &self.source {
            Source::File(_) => {
                let stamp = stamp::Stamp::of(place, &self.names(place, spec)?);
                stamp.map(Stamp::File)
            }
            Source::Ring { ring, .. } => {
                let ring = lock(ring);
                let range = ring.range();
                Some(Stamp::Ring(
                    (range.start, range.end),
                    ring.header().to_vec(),
                ))
            }
        }
    }

    /// The files that the job reads; none where it cannot be told, which reading them then explains.
    fn names(&self, file: &Path, spec: &DataSpec) -> Option<Vec<PathBuf>> {
        data::files(file, spec, self.split.as_ref()).ok()
    }

    /// All of the file, or of the folder, whose bytes are not counted; or rows of the ring.
    fn extent(&self, real: &Path, stamp: Option<&Stamp>) -> Extent {
        match (&self.source, stamp) {
            (_, Some(Stamp::Ring(extent, _))) => *extent,
            (Source::File(_), _) if real.is_file() => {
                (0, fs::metadata(real).map_or(u64::MAX, |file| file.len()))
            }
            _ => (0, u64::MAX),
        }
    }

    fn take(
        &mut self,
        real: &Path,
        before: Option<Stamp>,
        now: SystemTime,
        spec: &DataSpec,
    ) -> Result<Taken, StoreError> {
        let (part, folder) = (self.home.join(PART_FOLDER), self.folder());
        for old in [&part, &folder] {
            remove_folder(old)?;
        }
        fs::create_dir(&part).map_err(StoreError::io("create folder", &part))?;
        let taken = match &self.source {
            Source::File(file) => {
                let extent = self.extent(real, before.as_ref());
                let file = file.clone();
                let watched = self.keep(&file, real, before.as_ref(), spec);
                let is_settled = |stamp: &Stamp| match stamp {
                    Stamp::File(stamp) => stamp.is_settled(now),
                    Stamp::Ring(..) => true,
                };
                let is_whole = !matches!(watched, Some(Watched::Changed));
                Taken {
                    fixed: Fixed {
                        extent,
                        stamp: before.filter(|stamp| is_whole && is_settled(stamp)),
                    },
                    is_kept: watched.is_some(),
                    watched: watched.unwrap_or(Watched::Source),
                }
            }
            Source::Ring { ring, .. } => {
                let mut ring = lock(ring);
                let range = ring.link_into(&part)?;
                let extent = (range.start, range.end);
                let stamp = Some(Stamp::Ring(extent, ring.header().to_vec()));
                Taken {
                    fixed: Fixed { extent, stamp },
                    watched: Watched::Nothing,
                    is_kept: true,
                }
            }
        };
        sync_folder(&part)?;
        fs::rename(&part, &folder).map_err(StoreError::io("rename to", &folder))?;
        sync_folder(&self.home)?;
        Ok(taken)
    }

    /// Keeps what the job reads of the file or folder, where that can be done. Otherwise it is read where it lies,
    /// and its digest tells whether it has changed.
    fn keep(
        &mut self,
        file: &Path,
        real: &Path,
        before: Option<&Stamp>,
        spec: &DataSpec,
    ) -> Option<Watched> {
        let names = self.names(real, spec)?;
        let copy = copy_of(file, &self.home.join(PART_FOLDER));
        match keep(real, &copy, &names) {
            Ok(By::Linking) => {
                self.said_unkept = false;
                Some(Watched::Links(copy_of(file, &self.folder())))
            }
            Ok(By::Sharing | By::Copying) => {
                self.said_unkept = false;
                match self.stamp(real, spec).as_ref() == before {
                    true => Some(Watched::Nothing),
                    false => Some(Watched::Changed),
                }
            }
            Err(error) => {
                // Of a file that is not there, reading it says more.
                if before.is_some() && !std::mem::replace(&mut self.said_unkept, true) {
                    tracing::info!(
                        "{} cannot be kept for its rounds ({error}): it is read where it lies",
                        file.display()
                    );
                }
                None
            }
        }
    }

    /// Reads rows that were fixed.
    ///
    /// # Errors
    /// Every [`DataError`].
    pub(super) fn load(&self, extent: Extent, spec: &DataSpec) -> Result<LocalData, DataError> {
        let (split, folder) = (self.split.as_ref(), self.folder());
        match &self.source {
            Source::File(file) => {
                let copy = copy_of(file, &folder);
                let real = self.kept.as_ref().map(|kept| kept.real.clone());
                let place = match copy.exists() {
                    true => copy,
                    false => real.unwrap_or_else(|| self.real()),
                };
                data::load_prefix(file, &place, extent.1, spec, split)
            }
            Source::Ring { ring, rows_max, .. } => {
                let name = lock(ring).folder().to_owned();
                let text = match folder.is_dir() {
                    true => RingText::open(&folder, extent.0..extent.1),
                    false => Ok(None),
                };
                let text = text.map_err(|error| DataError::Read {
                    file: name.display().to_string(),
                    source: io::Error::other(error),
                })?;
                data::load_ring(&name, text, *rows_max, spec, split)
            }
        }
    }

    /// A round is over: its snapshot is removed, unless the next can be of the same rows; `noted` are the rows that
    /// were fixed last, maybe by the process before this one.
    pub(super) fn release(&mut self, job: &JobId, round: u32, noted: Option<&Snapshot>) {
        let is_over = match &self.kept {
            Some(kept) => kept.job == *job && kept.round == round && !self.rests(kept),
            None => noted.is_some_and(|noted| noted.job == job.as_str() && noted.round == round),
        };
        if is_over {
            self.remove();
        }
    }

    /// Whether the rows may serve the next round too.
    fn rests(&self, kept: &Kept) -> bool {
        matches!(self.source, Source::File(_))
            && kept.stamp.is_some()
            && kept.stamp == self.stamp(&self.real(), &kept.spec)
    }

    /// A job is over, and its snapshot not wanted any more; `noted` are the rows that were fixed last.
    pub(super) fn job_over(&mut self, job: &JobId, noted: Option<&Snapshot>) {
        let noted = noted.map(|noted| noted.job.as_str());
        let last = self.kept.as_ref().map(|kept| kept.job.as_str()).or(noted);
        if last == Some(job.as_str()) {
            self.remove();
        }
    }

    /// No round needs what lies on disk.
    pub(super) fn remove(&mut self) {
        self.kept = None;
        for folder in [self.home.join(PART_FOLDER), self.folder()] {
            if let Err(error) = remove_folder(&folder) {
                tracing::warn!("rows that are not wanted any more stay on disk: {error}");
            }
        }
    }

    /// After a restart in the middle of a round: the snapshot on disk is of it.
    pub(super) fn is_of(&mut self, job: &JobId, round: u32, spec: &DataSpec) {
        self.kept = Some(Kept {
            job: job.clone(),
            round,
            spec: spec.clone(),
            stamp: None,
            before: None,
            real: self.real(),
            watched: Watched::Nothing,
        });
    }

    fn folder(&self) -> PathBuf {
        self.home.join(SNAPSHOT_FOLDER)
    }
}

/// The place of a file's or folder's copy in a snapshot: under its own name, which may say what is in it.
fn copy_of(file: &Path, snapshot: &Path) -> PathBuf {
    snapshot.join(file.file_name().unwrap_or("data".as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Bounds, header_in};
    use crate::run::sample;

    #[test]
    fn rows_under_another_header_are_fixed_anew_whatever_their_numbers() {
        let home = tempfile::tempdir().unwrap();
        let bounds = Bounds {
            rows_max: 4,
            bytes_max: 1 << 20,
        };
        let ring = Ring::open(&home.path().join("ring"), bounds).unwrap();
        let ring = Arc::new(Mutex::new(ring));
        let source = Source::Ring {
            ring: ring.clone(),
            rows_max: bounds.rows_max,
            counts: Arc::new(Counts::default()),
        };
        let mut rows = RoundRows::new(source, None, home.path());
        let give = |header: &[u8]| {
            let mut ring = lock(&ring);
            ring.begin(header).unwrap();
            ring.append([&b"1"[..]; 4]).unwrap();
        };
        let job: JobId = "air".parse().unwrap();
        let spec = sample::plan(b"", b"").data;
        let mut fixed = |round, header: &[u8]| {
            let fixed = rows.fix(&job, round, &spec).unwrap();
            assert_eq!(fixed.extent, (4, 8));
            assert_eq!(header_in(&rows.folder()).unwrap().unwrap(), header);
        };
        give(b"a");
        give(b"b");
        fixed(1, b"b");
        give(b"a");
        fixed(2, b"a");
    }
}
