//! Plans and objects on their way to the devices.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fl_model::{DeviceId, Digest, ObjectRef, RoundPlan, TraceContext};
use fl_runtime::clock::wall_us;
use fl_runtime::mqtt::{NotDelivered, Session};
use fl_telemetry::region::Transfer;
use fl_wire::topics::{Broadcast, ChunkName, Down, Topic};
use fl_wire::{ChunkError, Chunker, Want};

use futures::StreamExt as _;

use crate::disk::Stores;
use crate::mail::{Me, publish_until_done};

/// Models that this process remembers having sent to the region.
const MODELS_MAX: usize = 16;

/// Chunks of an object that the broker has not acknowledged.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;

/// Why an object was not sent. Devices ask again.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// The broker does not take it.
    #[error(transparent)]
    NotDelivered(#[from] NotDelivered),
    /// It is too large for any manifest.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    /// It is not in the cache any more.
    #[error("object {} is not in the cache: raise store.objects_bytes_max", .0.short())]
    Missing(Digest),
}

/// Sends objects out of the cache, in chunks.
#[derive(Debug, Clone)]
pub struct Broadcaster {
    me: Me,
    session: Session,
    stores: Arc<Stores>,
    models: Arc<Mutex<VecDeque<Digest>>>,
}

impl Broadcaster {
    /// Sends over `session`.
    pub fn new(me: Me, session: Session, stores: Arc<Stores>) -> Self {
        Self {
            me,
            session,
            stores,
            models: Arc::default(),
        }
    }

    /// Sends the plan, as the root signed it, and the objects that the region lacks.
    ///
    /// # Errors
    /// Every [`BroadcastError`].
    pub async fn plan(
        &self,
        plan: &RoundPlan,
        verbatim: &Bytes,
    ) -> Result<Transfer, BroadcastError> {
        let mut transfer = Transfer {
            start_us: wall_us(),
            ..Transfer::default()
        };
        let topic = self.topic(Broadcast::Plan(plan.key.job.clone()));
        publish_until_done(&self.session, &topic, verbatim, true, Some(&plan.trace)).await?;
        transfer.bytes += verbatim.len() as u64;
        if self.is_new(plan.model.digest) {
            self.object(&plan.model, &plan.trace, &mut transfer).await?;
        }
        self.object(&plan.parameters, &plan.trace, &mut transfer)
            .await?;
        transfer.end_us = wall_us();
        Ok(transfer)
    }

    /// Sends what a device asks for, to it alone; how many bytes that were.
    ///
    /// # Errors
    /// Every [`BroadcastError`].
    pub async fn answer(&self, device: &DeviceId, want: &Want) -> Result<u64, BroadcastError> {
        let bytes = self.read(want.digest).await?;
        let chunker = Chunker::new(&bytes)?;
        let down = |down| Topic::down(&self.me.region, device, down);
        let mut sent = 0;
        if want.ranges.is_empty()
            && let Some(manifest) = self.me.sign(chunker.manifest(), |header| header)
        {
            sent += manifest.len() as u64;
            publish_until_done(&self.session, &down(Down::Manifest), &manifest, false, None)
                .await?;
        }
        let digest = want.digest;
        for (number, chunk) in chunker.wanted(want) {
            let topic = down(Down::Chunk(ChunkName { digest, number }));
            let chunk = Bytes::copy_from_slice(chunk);
            publish_until_done(&self.session, &topic, &chunk, false, None).await?;
            sent += chunk.len() as u64;
        }
        Ok(sent)
    }

    async fn object(
        &self,
        object: &ObjectRef,
        trace: &TraceContext,
        transfer: &mut Transfer,
    ) -> Result<(), BroadcastError> {
        let digest = object.digest;
        let bytes = Bytes::from(self.read(digest).await?);
        let chunker = Chunker::new(&bytes)?;
        if let Some(manifest) = self
            .me
            .sign(chunker.manifest(), |header| header.traced(*trace))
        {
            let topic = self.topic(Broadcast::Manifest(digest));
            publish_until_done(&self.session, &topic, &manifest, false, Some(trace)).await?;
            transfer.bytes += manifest.len() as u64;
        }
        let pieces: Vec<_> = chunker
            .chunks()
            .map(|(number, chunk)| {
                let topic = self.topic(Broadcast::Chunk(ChunkName { digest, number }));
                (topic, bytes.slice_ref(chunk))
            })
            .collect();
        let sending = futures::stream::iter(pieces).map(|(topic, chunk)| {
            let session = self.session.clone();
            async move {
                publish_until_done(&session, &topic, &chunk, false, None).await?;
                Ok::<_, BroadcastError>(chunk.len() as u64)
            }
        });
        let mut sending = std::pin::pin!(sending.buffered(CHUNKS_IN_FLIGHT_MAX));
        while let Some(sent) = sending.next().await {
            transfer.bytes += sent?;
            transfer.chunks += 1;
        }
        Ok(())
    }

    async fn read(&self, digest: Digest) -> Result<Vec<u8>, BroadcastError> {
        let stores = Arc::clone(&self.stores);
        let read = tokio::task::spawn_blocking(move || stores.objects.get(&digest));
        match read.await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Err(error)) => {
                tracing::error!("{error}");
                Err(BroadcastError::Missing(digest))
            }
            _ => Err(BroadcastError::Missing(digest)),
        }
    }

    /// Whether the region has not had this model since the start.
    fn is_new(&self, model: Digest) -> bool {
        // Only ever pushed to and popped from: a panic in between leaves it usable.
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(&model) {
            return false;
        }
        if models.len() == MODELS_MAX {
            models.pop_front();
        }
        models.push_back(model);
        true
    }

    fn topic(&self, broadcast: Broadcast) -> Topic {
        Topic::broadcast(&self.me.region, broadcast)
    }
}
