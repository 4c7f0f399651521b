//! Signed partial sums on their way to the root, until its log has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fl_model::{Digest, ObjectRef, RoundKey};
use fl_runtime::clock::wall_us;
use fl_runtime::nats::{AppendError, Nats, ObjectError, ReadError, Stream};
use fl_telemetry::Metrics;
use fl_telemetry::metrics::{Bus, Link};
use fl_telemetry::region::Transfer;
use fl_wire::subjects::{ONLY_SHARD, Subject};
use fl_wire::{ChunkError, Chunker, Envelope, Header, traceparent};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::disk::Stores;
use crate::gateway::Done;
use crate::mail::Me;
use crate::state::file_key;

/// Room that a message's subject and headers take of what the server allows.
const MESSAGE_FRAME_BYTES: usize = 4 * 1024;

/// Before a partial that did not arrive is sent again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A partial that is in the stream.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// How it went there; none where it was there from before a restart.
    pub transfer: Option<Transfer>,
    /// SHA-256 of the signed bytes.
    pub digest: Digest,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    #[error("the reference to it cannot be signed")]
    Unsigned,
}

/// Sends each stored partial in a task of its own.
#[derive(Clone)]
pub struct PartialSender {
    me: Arc<Me>,
    nats: Nats,
    stores: Arc<Stores>,
    metrics: Metrics,
    done: mpsc::Sender<Done>,
    running: Arc<Mutex<BTreeMap<RoundKey, AbortHandle>>>,
}

impl PartialSender {
    /// Sends what is in the outbox of `stores`.
    pub fn new(
        me: Arc<Me>,
        nats: Nats,
        stores: Arc<Stores>,
        metrics: Metrics,
        done: mpsc::Sender<Done>,
    ) -> Self {
        Self {
            me,
            nats,
            stores,
            metrics,
            done,
            running: Arc::default(),
        }
    }

    /// Sends the partial of a phase until it is there; once for each phase.
    pub fn start(&self, key: RoundKey) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(key.clone()).or_insert_with(|| {
            let sender = self.clone();
            tokio::spawn(async move { sender.send(key).await }).abort_handle()
        });
    }

    /// The phase is over: nothing more of it is sent. Where the root has it, a wait for the
    /// acknowledgement may end by itself.
    pub fn stop(&self, key: &RoundKey, accepted: bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = running.remove(key)
            && !accepted
        {
            task.abort();
        }
    }

    async fn send(&self, key: RoundKey) {
        let signed = match self.stores.partials.get(&file_key(&key)) {
            Ok(Some(signed)) => Bytes::from(signed),
            Ok(None) => return,
            Err(error) => {
                tracing::error!("the partial of {key} cannot be sent: {error}");
                return;
            }
        };
        let digest = Digest::of(&signed);
        let mut told = false;
        loop {
            let why = match self.attempt(&key, &signed).await {
                Ok(transfer) => {
                    let published = Published { transfer, digest };
                    let _ = self.done.send(Done::Published(key, published)).await;
                    return;
                }
                // The root makes room where the other is not of this fog.
                Err(SendError::Append(error @ AppendError::Conflict { .. })) => {
                    format!("the stream holds another than {}: {error}", digest.short())
                }
                Err(error) => error.to_string(),
            };
            if !told {
                tracing::warn!("the partial of {key} is not in the stream yet, retrying: {why}");
            }
            told = true;
            self.metrics.resent(Bus::Nats, 1);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&self, key: &RoundKey, signed: &Bytes) -> Result<Option<Transfer>, SendError> {
        let subject = Subject::Partial(key.clone(), self.me.region.clone(), ONLY_SHARD).to_string();
        let context = header_of(signed).and_then(|header| header.trace);
        let parent = context.as_ref().map(traceparent);
        let start_us = wall_us();
        let message = self.message(signed).await?;
        let held = self.nats.last(Stream::Partials, &subject).await?;
        if held.is_some_and(|held| held.payload == message) {
            return Ok(None);
        }
        self.nats
            .append(Stream::Partials, &subject, message, 0, parent.as_deref())
            .await?;
        self.metrics.moved(Link::FogUp, signed.len() as u64);
        Ok(Some(Transfer {
            start_us,
            end_us: wall_us(),
            bytes: signed.len() as u64,
            ..Transfer::default()
        }))
    }

    /// The partial itself, or a signed manifest that names the object which holds it.
    async fn message(&self, signed: &Bytes) -> Result<Bytes, SendError> {
        if signed.len() + MESSAGE_FRAME_BYTES <= self.nats.message_bytes_max() {
            return Ok(signed.clone());
        }
        let manifest = Chunker::new(signed)?.manifest().clone();
        let object: ObjectRef = self.nats.put_object(signed).await?;
        debug_assert_eq!(object, manifest.object);
        let header = header_of(signed).ok_or(SendError::Unsigned)?;
        let reference = self.me.sign(&manifest, |reference| Header {
            job: header.job,
            round: header.round,
            epoch: header.epoch,
            trace: header.trace,
            ..reference
        });
        reference.ok_or(SendError::Unsigned)
    }
}

/// The header of bytes that this fog signed itself.
fn header_of(signed: &[u8]) -> Option<Header> {
    let envelope = Envelope::parse(signed, signed.len()).ok()?;
    Some(envelope.header().clone())
}
