//! The way out: two bounded queues, so that a long transfer keeps no sign of life waiting.
//!
//! Nothing here tries again. What was not delivered is sent again when the state machine asks for it:
//! after a while without an answer, or after the next hello.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use fl_model::{Digest, RoundKey};
use fl_runtime::mqtt::{NotDelivered, Session};
use fl_wire::limits::CHUNK_BYTES_MAX;
use fl_wire::topics::{ChunkName, Up};
use fl_wire::{Chunker, Envelope, TRACEPARENT, Want, traceparent};
use tokio::sync::mpsc;

use super::identity::{About, Identity};
use super::worker::lock;
use crate::say;

/// Control messages that may wait.
const CONTROL_MAX: usize = 64;

/// Transfers that may wait.
const TRANSFERS_MAX: usize = 16;

/// A message of a few kilobytes.
struct Control {
    up: Up,
    payload: Vec<u8>,
}

/// A contribution to send.
pub(crate) struct Transfer {
    /// The phase.
    pub(crate) key: RoundKey,
    /// Its signed bytes.
    pub(crate) sealed: Vec<u8>,
    /// Which chunks the fog asks for; all of them when it asks for none.
    pub(crate) want: Option<Want>,
}

/// Hands messages to the tasks that publish them.
pub(crate) struct Uplink {
    control: mpsc::Sender<Control>,
    transfers: mpsc::Sender<Transfer>,
    /// Contributions that are queued or on their way.
    under_way: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Uplink {
    /// Starts the two tasks; they end when this is dropped.
    pub(crate) fn start(session: &Session, identity: &Arc<Identity>) -> Self {
        let (control, mut controls) = mpsc::channel::<Control>(CONTROL_MAX);
        let (transfers, mut queue) = mpsc::channel::<Transfer>(TRANSFERS_MAX);
        let under_way = Arc::new(Mutex::new(BTreeSet::new()));
        tokio::spawn({
            let (session, identity) = (session.clone(), identity.clone());
            async move {
                while let Some(Control { up, payload }) = controls.recv().await {
                    let topic = identity.topic(up).to_string();
                    report(session.publish(&topic, payload, false, Vec::new()).await);
                }
            }
        });
        tokio::spawn({
            let (session, identity) = (session.clone(), identity.clone());
            let under_way = under_way.clone();
            async move {
                while let Some(transfer) = queue.recv().await {
                    let sent = send(&session, &identity, &transfer).await;
                    lock(&under_way).remove(&Digest::of(&transfer.sealed));
                    if sent.is_ok() && transfer.want.is_none() {
                        let bytes = say::bytes(transfer.sealed.len());
                        tracing::info!("{}: sent {bytes}", say::place(&transfer.key));
                    }
                    report(sent);
                }
            }
        });
        Self {
            control,
            transfers,
            under_way,
        }
    }

    /// Sends a control message; drops it when too many wait already.
    pub(crate) fn control(&self, up: Up, payload: Vec<u8>) {
        if self.control.try_send(Control { up, payload }).is_err() {
            tracing::debug!("{up:?} was dropped: too many messages wait to be sent");
        }
    }

    /// Sends a contribution, unless it is on its way.
    pub(crate) fn transfer(&self, transfer: Transfer) {
        let digest = Digest::of(&transfer.sealed);
        if !lock(&self.under_way).insert(digest) {
            return;
        }
        if self.transfers.try_send(transfer).is_err() {
            lock(&self.under_way).remove(&digest);
            tracing::debug!("a contribution was not queued: too many wait to be sent");
        }
    }
}

async fn send(
    session: &Session,
    identity: &Identity,
    transfer: &Transfer,
) -> Result<(), NotDelivered> {
    let sealed = &transfer.sealed;
    let properties = trace_properties(sealed);
    if sealed.len() <= CHUNK_BYTES_MAX {
        let topic = identity.topic(Up::Contribution).to_string();
        return session
            .publish(&topic, sealed.clone(), false, properties)
            .await;
    }
    let chunker = match Chunker::of_contribution(sealed, &transfer.key) {
        Ok(chunker) => chunker,
        Err(error) => {
            tracing::error!(
                "{}: the contribution cannot be sent: {error}",
                say::place(&transfer.key)
            );
            return Ok(());
        }
    };
    let about = About {
        round: Some(&transfer.key),
        ..About::default()
    };
    let manifest = match identity.seal(chunker.manifest(), &about) {
        Ok(manifest) => manifest,
        Err(error) => {
            tracing::error!(
                "{}: the contribution cannot be announced: {error}",
                say::place(&transfer.key)
            );
            return Ok(());
        }
    };
    let topic = identity.topic(Up::Manifest).to_string();
    session.publish(&topic, manifest, false, properties).await?;
    let digest = chunker.manifest().object.digest;
    let everything = Want {
        digest,
        ranges: Vec::new(),
    };
    let want = transfer.want.as_ref().unwrap_or(&everything);
    for (number, chunk) in chunker.wanted(want) {
        let name = ChunkName { digest, number };
        let topic = identity.topic(Up::Chunk(name)).to_string();
        session
            .publish(&topic, chunk.to_vec(), false, Vec::new())
            .await?;
    }
    Ok(())
}

/// The trace context in the signed header, once more where other tools look for it.
fn trace_properties(sealed: &[u8]) -> Vec<(String, String)> {
    let envelope = Envelope::parse(sealed, sealed.len()).ok();
    let trace = envelope.and_then(|envelope| envelope.header().trace);
    let property = |trace| (TRACEPARENT.to_owned(), traceparent(&trace));
    trace.map(property).into_iter().collect()
}

fn report(published: Result<(), NotDelivered>) {
    match published {
        Ok(()) => {}
        Err(error @ (NotDelivered::Refused { .. } | NotDelivered::TooLarge { .. })) => {
            tracing::warn!("{error}");
        }
        Err(error) => tracing::debug!("{error}"),
    }
}
