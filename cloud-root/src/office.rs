//! What every part of a running root shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fl_model::{Epoch, JobId, ObjectRef, RegionId};
use fl_round::RootLimits;
use fl_runtime::clock::Clock;
use fl_telemetry::{Exporter, Identity, Metrics};
use tokio::sync::{broadcast, watch};

use crate::board::Board;
use crate::home::{Home, note};
use crate::patience::until_answered;
use crate::publish::Voice;
use crate::roster::RosterFile;
use crate::sweep::Sweep;

/// What every part of a running root shares.
pub(crate) struct Office {
    pub(crate) home: Home,
    pub(crate) voice: Voice,
    pub(crate) limits: RootLimits,
    pub(crate) clock: Clock,
    pub(crate) roster: watch::Receiver<Arc<RosterFile>>,
    pub(crate) beats: broadcast::Sender<(RegionId, u32)>,
    pub(crate) exporter: Exporter,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    pub(crate) sweep: Sweep,
    /// The highest epoch of any job: fogs and devices keep one for all of them.
    pub(crate) epoch: AtomicU64,
}

impl Office {
    /// The highest epoch that any job's log names.
    pub(crate) fn epoch_max(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Notes the epoch of a job.
    pub(crate) fn saw_epoch(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// Notes that every region was told of a job's end, so that no start tells it again.
    pub(crate) fn mark_ended(&self, job: &JobId) {
        let file = self.home.ended_file(job);
        if let Err(error) = note(&file, b"") {
            tracing::warn!("the end of {job} is told again at the next start: {error:#}");
        }
    }

    /// An object that must be there; waits for the bus as long as it is away.
    pub(crate) async fn object(&self, object: &ObjectRef) -> anyhow::Result<Vec<u8>> {
        let nats = &self.voice.nats;
        Ok(until_answered(|| nats.get_object(object)).await?)
    }
}
