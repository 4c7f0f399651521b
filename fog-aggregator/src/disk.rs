//! The fog's home: what survives a kill, and the one thread that writes it, in order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fl_model::{Digest, Epoch, MemberId, PartialSum, RegionId, RoundKey};
use fl_round::{Restored, SettledRecord};
use fl_runtime::clock::wall_us;
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::{Access, ObjectCache, Outbox, StoreError, write_atomic};
use fl_wire::{Body as _, Header, SigningKey, WireError, seal};
use tokio::sync::mpsc;

use crate::snapshot::{self, Notes, SnapshotError};
use crate::state::{State, file_key, parse_file_key};
use crate::telling::KeptTrace;

/// Jobs that may wait for the disk; whoever has more waits.
const JOBS_MAX: usize = 256;

/// Before a write that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of traces that wait to be told.
const TRACES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why the home cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be moved aside or removed.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state is damaged.
    #[error("{} is damaged: {why}; remove it to go on without knowing how earlier phases ended", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A snapshot cannot be written: a fault of ours.
    #[error("the snapshot cannot be written: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A partial sum cannot be signed: a fault of ours.
    #[error("the partial sum of {key} cannot be signed: {error}")]
    Seal {
        /// Its phase.
        key: RoundKey,
        /// What is wrong with it.
        error: WireError,
    },
}

/// Names inside a home.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// The home in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The signing key.
    pub fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// The settings.
    pub fn settings(&self) -> PathBuf {
        self.0.join("fog-aggregator.toml")
    }

    fn snapshot(&self) -> PathBuf {
        self.0.join("snapshot")
    }

    fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn outbox(&self) -> PathBuf {
        self.0.join("outbox")
    }

    fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    fn traces(&self) -> PathBuf {
        self.0.join("traces")
    }
}

/// What the disk remembered at the start.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Epoch and settled phases.
    pub state: State,
    /// The phase that was open, with its notes.
    pub open: Option<(Restored, Notes)>,
    /// Rounds whose traces are not told yet, or were just before the end.
    pub traces: Vec<KeptTrace>,
}

/// The stores in a home; shared with those who only read.
#[derive(Debug)]
pub struct Stores {
    home: Home,
    /// Models and parameters.
    pub objects: ObjectCache,
    /// Signed partial sums until they are settled, by [`file_key`].
    pub partials: Outbox,
    traces: Outbox,
}

impl Stores {
    /// Opens the stores.
    ///
    /// # Errors
    /// [`DiskError::Store`].
    pub fn open(
        home: &Home,
        objects_bytes_max: u64,
        outbox_bytes_max: u64,
    ) -> Result<Self, DiskError> {
        Ok(Self {
            objects: ObjectCache::open(&home.objects(), objects_bytes_max)?,
            partials: Outbox::open(&home.outbox(), outbox_bytes_max)?,
            traces: Outbox::open(&home.traces(), TRACES_BYTES_MAX)?,
            home: home.clone(),
        })
    }

    /// Reads what was left. A partial whose phase is settled is removed; a damaged snapshot is moved aside: its devices send again.
    ///
    /// # Errors
    /// Every [`DiskError`].
    pub fn recall(&self) -> Result<Remembered, DiskError> {
        let path = self.home.state();
        let state = match read(&path)? {
            Some(bytes) => {
                State::from_json(&bytes).map_err(|why| DiskError::State { path, why })?
            }
            None => State::default(),
        };
        for record in &state.settled {
            self.partials.remove(&file_key(&record.key))?;
        }
        let traces = self.traces.keys().into_iter().filter_map(|key| {
            let bytes = self.traces.get(&key).ok().flatten()?;
            serde_cbor::from_slice(&bytes).ok()
        });
        Ok(Remembered {
            state,
            open: self.recall_open()?,
            traces: traces.collect(),
        })
    }

    fn recall_open(&self) -> Result<Option<(Restored, Notes)>, DiskError> {
        let path = self.home.snapshot();
        let Some(bytes) = read(&path)? else {
            return Ok(None);
        };
        let (mut restored, notes) = match snapshot::decode(&bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::error!(
                    "the snapshot {} is damaged ({error}): it is now {}, and devices send again",
                    path.display(),
                    aside.display()
                );
                std::fs::rename(&path, &aside)
                    .map_err(|source| DiskError::Remove { path, source })?;
                return Ok(None);
            }
        };
        let partial = self.partials.get(&file_key(&restored.partial.key))?;
        restored.closed = partial.map(|bytes| Digest::of(&bytes));
        Ok(Some((restored, notes)))
    }

    /// The file that remembers the epoch, for whoever has to remove it.
    pub fn state_file(&self) -> PathBuf {
        self.home.state()
    }

    /// The phases whose partials wait to be settled.
    pub fn waiting(&self) -> Vec<RoundKey> {
        self.partials
            .keys()
            .iter()
            .filter_map(|key| parse_file_key(key))
            .collect()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Something to write.
#[derive(Debug)]
pub enum Job {
    /// The snapshot of the open phase.
    Snapshot(Box<Restored>, Box<Notes>),
    /// The snapshot of a closed phase and its partial, signed under that header.
    Partial(Box<Restored>, Box<Notes>, Box<Header>),
    /// A phase is over: its record, and nothing more of its sum.
    Settle(SettledRecord),
    /// A phase is over in which nobody of this region is.
    Forget(RoundKey),
    /// No lower epoch counts.
    Epoch(Epoch),
    /// A round's trace is told now, in this way.
    TraceTelling(RoundKey, Box<KeptTrace>),
    /// It was told some time ago.
    TraceTold(RoundKey),
}

/// What has become durable.
#[derive(Debug)]
pub enum Written {
    /// The snapshot, within that time.
    Snapshot(RoundKey, Duration),
    /// The signed partial with that digest and length.
    Partial(RoundKey, Digest, u64),
    /// The record; devices may be told.
    Settled(SettledRecord),
}

/// Hands jobs to the thread that writes.
#[derive(Debug, Clone)]
pub struct DiskQueue(mpsc::Sender<Job>);

impl DiskQueue {
    /// Hands a job over; waits while the disk is far behind.
    pub async fn push(&self, job: Job) {
        // The writer outlives every sender, so this cannot fail before the end.
        let _ = self.0.send(job).await;
    }
}

/// Starts the writer with the state and the snapshot's phase as they are on disk. It ends when every
/// [`DiskQueue`] is dropped and all jobs are done, also those of which nobody wants to hear any more.
///
/// A write that fails is tried again until it succeeds, with a line that says so: nothing is
/// acknowledged meanwhile, and nothing is lost. Once `shutdown` is requested it is not: the writer ends
/// there, and what it has not written is as after a kill.
pub fn start(
    stores: Arc<Stores>,
    remembered: (State, Option<RoundKey>),
    key: SigningKey,
    written: mpsc::Sender<Written>,
    shutdown: Shutdown,
) -> (DiskQueue, tokio::task::JoinHandle<()>) {
    let (jobs_in, mut jobs) = mpsc::channel(JOBS_MAX);
    let (state, snapshot_of) = remembered;
    let mut writer = Writer {
        stores,
        state,
        snapshot_of,
        key,
        shutdown,
    };
    let task = tokio::task::spawn_blocking(move || {
        while let Some(job) = jobs.blocking_recv() {
            let Ok(done) = writer.write_until_done(&job) else {
                return;
            };
            if let Some(done) = done {
                // A gateway that has ended needs no word of it.
                let _ = written.blocking_send(done);
            }
        }
    });
    (DiskQueue(jobs_in), task)
}

struct Writer {
    stores: Arc<Stores>,
    state: State,
    /// Whose snapshot is on disk.
    snapshot_of: Option<RoundKey>,
    key: SigningKey,
    shutdown: Shutdown,
}

/// The process is to end, and the disk takes nothing.
struct GivenUp;

impl Writer {
    fn write_until_done(&mut self, job: &Job) -> Result<Option<Written>, GivenUp> {
        let mut told = false;
        loop {
            match self.write(job) {
                Ok(done) => return Ok(done),
                Err(error @ (DiskError::Snapshot(_) | DiskError::Seal { .. })) => {
                    tracing::error!("{error}: this is a fault of the program, please report it");
                    return Ok(None);
                }
                Err(error) if self.shutdown.is_requested() => {
                    tracing::error!(
                        "{error}; ending without it: devices send again what has no receipt"
                    );
                    return Err(GivenUp);
                }
                Err(error) if !told => tracing::error!("{error}; trying again until it works"),
                Err(_) => {}
            }
            told = true;
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn write(&mut self, job: &Job) -> Result<Option<Written>, DiskError> {
        match job {
            Job::Snapshot(restored, notes) => {
                let started = Instant::now();
                self.write_snapshot(restored, notes)?;
                let key = restored.partial.key.clone();
                Ok(Some(Written::Snapshot(key, started.elapsed())))
            }
            Job::Partial(restored, notes, header) => {
                self.write_snapshot(restored, notes)?;
                self.write_trace(&restored.partial.key, notes)?;
                self.write_partial(&restored.partial, header).map(Some)
            }
            Job::Settle(record) => {
                // The same record may come again after a failure of what follows.
                self.state.settled.retain(|known| known.key != record.key);
                self.state.settle(record.clone());
                self.write_state()?;
                self.drop_sum(&record.key)?;
                Ok(Some(Written::Settled(record.clone())))
            }
            Job::Forget(key) => self.drop_sum(key).map(|()| None),
            Job::Epoch(epoch) => {
                self.state.epoch = self.state.epoch.max(*epoch);
                self.write_state().map(|()| None)
            }
            Job::TraceTelling(key, kept) => self.put_trace(key, kept).map(|()| None),
            Job::TraceTold(key) => {
                self.stores.traces.remove(&file_key(key))?;
                Ok(None)
            }
        }
    }

    fn write_snapshot(&mut self, restored: &Restored, notes: &Notes) -> Result<(), DiskError> {
        let notes = Notes {
            saved_us: wall_us(),
            ..notes.clone()
        };
        let bytes = snapshot::encode(restored, &notes)?;
        write_atomic(&self.stores.home.snapshot(), &bytes, Access::Owner)?;
        self.snapshot_of = Some(restored.partial.key.clone());
        Ok(())
    }

    fn write_trace(&self, key: &RoundKey, notes: &Notes) -> Result<(), DiskError> {
        let Some(trace) = &notes.trace else {
            return Ok(());
        };
        let trace = trace.clone();
        self.put_trace(key, &KeptTrace { trace, told: None })
    }

    fn put_trace(&self, key: &RoundKey, kept: &KeptTrace) -> Result<(), DiskError> {
        // Not JSON, which is read back with other last digits of a real number.
        let cbor = serde_cbor::to_vec(kept).map_err(SnapshotError::Trace)?;
        match self.stores.traces.put(&file_key(key), &cbor) {
            Err(StoreError::Full { .. }) => Ok(()),
            result => Ok(result?),
        }
    }

    fn write_partial(&self, partial: &PartialSum, header: &Header) -> Result<Written, DiskError> {
        let key = &partial.key;
        let signed = seal(header, partial, &self.key).map_err(|error| DiskError::Seal {
            key: key.clone(),
            error,
        })?;
        self.stores.partials.put(&file_key(key), &signed)?;
        Ok(Written::Partial(
            key.clone(),
            Digest::of(&signed),
            signed.len() as u64,
        ))
    }

    fn write_state(&self) -> Result<(), DiskError> {
        let json = self.state.to_json();
        Ok(write_atomic(
            &self.stores.home.state(),
            &json,
            Access::Umask,
        )?)
    }

    /// Removes partial and snapshot of a phase.
    fn drop_sum(&mut self, key: &RoundKey) -> Result<(), DiskError> {
        if self.snapshot_of.as_ref() == Some(key) {
            let path = self.stores.home.snapshot();
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DiskError::Remove { path, source });
                }
                _ => self.snapshot_of = None,
            }
        }
        Ok(self.stores.partials.remove(&file_key(key))?)
    }
}

/// The header under which this fog signs the partial of a phase.
pub fn partial_header(partial: &PartialSum, fog: &MemberId, region: &RegionId) -> Header {
    Header::new(partial.kind(), fog)
        .in_round(&partial.key)
        .in_region(region)
        .under(partial.epoch)
}

#[cfg(test)]
mod tests;
