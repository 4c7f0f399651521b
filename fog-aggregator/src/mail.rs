//! What goes down to the devices over MQTT.

use std::time::Duration;

use bytes::Bytes;
use fl_model::{DeviceId, MemberId, RegionId, TraceContext};
use fl_runtime::mqtt::{NotDelivered, Session};
use fl_wire::topics::{Broadcast, Down, Topic};
use fl_wire::{Body, Header, SigningKey, TRACEPARENT, VerifyingKey, seal, traceparent};
use futures::StreamExt as _;
use tokio::sync::mpsc;

/// Letters that may wait; a device that misses one asks again.
const LETTERS_MAX: usize = 4_096;

/// Letters on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// Before a publish that did not arrive is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Who this fog is, and whom it believes.
#[derive(Debug, Clone)]
pub struct Me {
    /// Its name in the roster.
    pub name: MemberId,
    /// Its region.
    pub region: RegionId,
    /// Its key.
    pub key: SigningKey,
    /// The pinned key of the root.
    pub root: VerifyingKey,
}

impl Me {
    /// Signs a body; `header` gets this fog's name and region besides what it has.
    pub fn sign<B: Body>(&self, body: &B, header: impl FnOnce(Header) -> Header) -> Option<Bytes> {
        let header = header(Header::new(body.kind(), &self.name).in_region(&self.region));
        match seal(&header, body, &self.key) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                tracing::error!(
                    "a {} cannot be signed: {error}; please report it",
                    body.kind()
                );
                None
            }
        }
    }
}

/// One message.
#[derive(Debug)]
struct Letter {
    topic: Topic,
    payload: Bytes,
    retain: bool,
}

/// Sends small messages in order, without anybody waiting for them.
#[derive(Debug, Clone)]
pub struct Mail {
    letters: mpsc::Sender<Letter>,
    me: Me,
}

impl Mail {
    /// Starts the task that sends, which ends with the last clone of this.
    pub fn start(me: Me, session: Session) -> Self {
        let (letters, waiting) = mpsc::channel(LETTERS_MAX);
        let waiting = futures::stream::unfold(waiting, |mut waiting| async {
            waiting.recv().await.map(|letter: Letter| (letter, waiting))
        });
        let sending = waiting
            .map(move |letter| deliver(session.clone(), letter))
            .buffered(IN_FLIGHT_MAX)
            .for_each(|()| std::future::ready(()));
        tokio::spawn(sending);
        Self { letters, me }
    }

    /// Signs `body` and sends it to a device.
    pub fn tell<B: Body>(
        &self,
        device: &DeviceId,
        down: Down,
        body: &B,
        header: impl FnOnce(Header) -> Header,
    ) {
        if let Some(payload) = self.me.sign(body, header) {
            self.post(Topic::down(&self.me.region, device, down), payload, false);
        }
    }

    /// Leaves a message with the broker for all devices; an empty one takes it away.
    pub fn retain(&self, broadcast: Broadcast, payload: Bytes) {
        self.post(Topic::broadcast(&self.me.region, broadcast), payload, true);
    }

    /// Letters that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.letters.max_capacity() - self.letters.capacity()
    }

    fn post(&self, topic: Topic, payload: Bytes, retain: bool) {
        let letter = Letter {
            topic,
            payload,
            retain,
        };
        if let Err(mpsc::error::TrySendError::Full(letter)) = self.letters.try_send(letter) {
            tracing::warn!(
                "{LETTERS_MAX} messages wait for the broker: one on {} is left out, its device asks again",
                letter.topic
            );
        }
    }
}

async fn deliver(session: Session, letter: Letter) {
    let topic = letter.topic.to_string();
    match session
        .publish(&topic, letter.payload, letter.retain, Vec::new())
        .await
    {
        Ok(()) => {}
        Err(error @ (NotDelivered::Refused { .. } | NotDelivered::TooLarge { .. })) => {
            tracing::error!("{error}");
        }
        // The device asks again when it is connected, and what is retained is said again.
        Err(error) => tracing::debug!("{topic}: {error}"),
    }
}

/// Publishes until the broker has it.
///
/// # Errors
/// What would fail every time.
pub async fn publish_until_done(
    session: &Session,
    topic: &Topic,
    payload: &Bytes,
    retain: bool,
    trace: Option<&TraceContext>,
) -> Result<(), NotDelivered> {
    let topic = topic.to_string();
    loop {
        let properties = trace.map(|trace| (TRACEPARENT.to_owned(), traceparent(trace)));
        let properties = properties.into_iter().collect();
        match session
            .publish(&topic, payload.clone(), retain, properties)
            .await
        {
            Ok(()) => return Ok(()),
            Err(error @ (NotDelivered::Refused { .. } | NotDelivered::TooLarge { .. })) => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
