//! Streams: appended to on a condition, read back from their leader.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream as Handle};
use bytes::Bytes;
use fl_model::Digest;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{ANSWER_S, Nats, headers, traceparent};
use crate::backoff::Backoff;

/// How often an append is tried again when the stream has not taken it, before the caller decides.
const APPEND_ATTEMPTS: u32 = 4;

/// Most bytes that one replay may hold in memory.
const REPLAY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The streams of a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `fl.log.{job}`: what happened, in order; nothing is ever dropped from it.
    Log,
    /// `fl.down.…`: what regions are to know; the last message per subject.
    Down,
    /// `fl.partial.…`: what regions have summed; kept until purged.
    Partials,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Stream; 3] = [Stream::Log, Stream::Down, Stream::Partials];

    /// Its name at the server.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Log => "FL_LOG",
            Stream::Down => "FL_DOWN",
            Stream::Partials => "FL_PARTIALS",
        }
    }

    pub(super) fn subjects(self) -> &'static str {
        match self {
            Stream::Log => "fl.log.>",
            Stream::Down => "fl.down.>",
            Stream::Partials => "fl.partial.>",
        }
    }
}

/// Why a message was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else has written there: our view of the subject is old.
    #[error(
        "{subject} holds another message than expected: its last sequence is {last_sequence}, expected {expected}"
    )]
    Conflict {
        /// The subject.
        subject: String,
        /// Sequence of its last message; 0 when it holds none.
        last_sequence: u64,
        /// What we expected that to be.
        expected: u64,
    },
    /// The message may or may not have arrived: append the same bytes again later.
    #[error("cannot append to {subject} now: {why}")]
    Unavailable {
        /// The subject.
        subject: String,
        /// What happened.
        why: String,
    },
    /// Larger than the server takes.
    #[error(
        "a message of {bytes} bytes on {subject} exceeds the {bytes_max} that nats takes: send it as an object"
    )]
    TooLarge {
        /// The subject.
        subject: String,
        /// Its size.
        bytes: usize,
        /// The server's bound.
        bytes_max: usize,
    },
}

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server does not answer, or not that: try again later.
    #[error("cannot read {subject} now: {why}")]
    Unavailable {
        /// The subject.
        subject: String,
        /// What happened.
        why: String,
    },
    /// More than fits in memory.
    #[error("{subject} holds more than {REPLAY_BYTES_MAX} bytes: it cannot be replayed at once")]
    TooLarge {
        /// The subject.
        subject: String,
    },
}

/// A message in a stream.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its place in the stream.
    pub sequence: u64,
    /// Its bytes.
    pub payload: Bytes,
    /// The W3C trace context it came with.
    pub traceparent: Option<String>,
}

impl Nats {
    /// Appends `bytes` to `subject` if its last message has sequence `expected` (0: it has none), and
    /// returns their sequence. Appending the same bytes again on the same condition succeeds and adds
    /// nothing.
    ///
    /// A refusal and a silence are both settled by reading back from the stream's leader: the same
    /// bytes mean done, none mean again, others are a conflict.
    ///
    /// # Errors
    /// Every [`AppendError`].
    pub async fn append(
        &self,
        stream: Stream,
        subject: &str,
        bytes: Bytes,
        expected: u64,
        traceparent: Option<&str>,
    ) -> Result<u64, AppendError> {
        let digest = Digest::of(&bytes);
        let mut backoff = Backoff::new();
        let mut why = String::new();
        for attempt in 0..APPEND_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(backoff.next_wait()).await;
            }
            let message = PublishMessage::build()
                .payload(bytes.clone())
                .headers(headers(traceparent))
                .expected_stream(stream.name())
                .expected_last_subject_sequence(expected);
            why = match self.publish_acked(subject, message).await? {
                Ok(sequence) => return Ok(sequence),
                Err(why) => why,
            };
            let unavailable = |error: ReadError| AppendError::Unavailable {
                subject: subject.to_owned(),
                why: error.to_string(),
            };
            let last = self.last(stream, subject).await.map_err(unavailable)?;
            match last {
                Some(last) if last.sequence > expected => {
                    return match Digest::of(&last.payload) == digest {
                        true => Ok(last.sequence),
                        false => Err(AppendError::Conflict {
                            subject: subject.to_owned(),
                            last_sequence: last.sequence,
                            expected,
                        }),
                    };
                }
                last if last.as_ref().map_or(0, |last| last.sequence) < expected => {
                    return Err(AppendError::Conflict {
                        subject: subject.to_owned(),
                        last_sequence: last.map_or(0, |last| last.sequence),
                        expected,
                    });
                }
                _ => {}
            }
        }
        Err(AppendError::Unavailable {
            subject: subject.to_owned(),
            why,
        })
    }

    /// Puts `bytes` in place of whatever `subject` of [`Stream::Down`] held, and returns their sequence.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] and [`AppendError::TooLarge`].
    pub async fn put_latest(
        &self,
        subject: &str,
        bytes: Bytes,
        traceparent: Option<&str>,
    ) -> Result<u64, AppendError> {
        let message = PublishMessage::build()
            .payload(bytes)
            .headers(headers(traceparent))
            .expected_stream(Stream::Down.name());
        let sent = self.publish_acked(subject, message).await?;
        sent.map_err(|why| AppendError::Unavailable {
            subject: subject.to_owned(),
            why,
        })
    }

    /// The inner error says what happened when the message may have been taken or refused.
    async fn publish_acked(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<Result<u64, String>, AppendError> {
        let unavailable = |why: String| AppendError::Unavailable {
            subject: subject.to_owned(),
            why,
        };
        if !self.is_back() {
            return Err(unavailable(format!("nats at {} is away", self.url())));
        }
        let bytes = message_bytes(&message);
        let sent = self.jetstream.send_publish(subject.to_owned(), message);
        let acked = self.answered(async { sent.await?.await }).await;
        let acked = match acked {
            Ok(acked) => acked,
            Err(lost) => return Ok(Err(lost)),
        };
        match acked {
            Ok(ack) => Ok(Ok(ack.sequence)),
            Err(error) => match error.kind() {
                PublishErrorKind::StreamNotFound => Err(unavailable(format!(
                    "no stream takes it at nats {}: start cloud-root, which makes the streams",
                    self.url()
                ))),
                PublishErrorKind::MaxPayloadExceeded => Err(AppendError::TooLarge {
                    subject: subject.to_owned(),
                    bytes,
                    bytes_max: self.message_bytes_max(),
                }),
                _ => Ok(Err(error.to_string())),
            },
        }
    }

    /// The last message on `subject`, from the stream's leader; none when there is none.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn last(
        &self,
        stream: Stream,
        subject: &str,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let asked = async {
            let handle = self.handle(stream).await?;
            match handle.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        };
        let last = self.asked(subject, asked).await?;
        Ok(last.map(|message| StoredMessage {
            subject: message.subject.to_string(),
            sequence: message.sequence,
            traceparent: traceparent(&message.headers),
            payload: message.payload,
        }))
    }

    /// Every subject that fits `filter` and holds a message now, in order.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn subjects(&self, stream: Stream, filter: &str) -> Result<Vec<String>, ReadError> {
        let asked = async {
            let handle = self.handle(stream).await?;
            let subjects = handle.info_with_subjects(filter).await.map_err(text)?;
            subjects.try_collect().await.map_err(text)
        };
        let subjects: Vec<(String, usize)> = self.asked(filter, asked).await?;
        let mut names: Vec<String> = subjects.into_iter().map(|(name, _)| name).collect();
        names.sort();
        Ok(names)
    }

    /// Every message on `subject`, which must hold no wildcard, in order, as of now.
    ///
    /// # Errors
    /// Every [`ReadError`].
    pub async fn read_all(
        &self,
        stream: Stream,
        subject: &str,
    ) -> Result<Vec<StoredMessage>, ReadError> {
        let Some(last) = self.last(stream, subject).await? else {
            return Ok(Vec::new());
        };
        let replay = self.replay(stream, subject, last.sequence);
        let replayed = self.asked(subject, replay).await?;
        replayed.ok_or_else(|| ReadError::TooLarge {
            subject: subject.to_owned(),
        })
    }

    /// The messages on `subject` up to sequence `last`; none when they do not fit in memory.
    async fn replay(
        &self,
        stream: Stream,
        subject: &str,
        last: u64,
    ) -> Result<Option<Vec<StoredMessage>>, String> {
        let from_beginning = OrderedConfig {
            filter_subject: subject.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ..OrderedConfig::default()
        };
        let handle = self.handle(stream).await?;
        let consumer = handle.create_consumer(from_beginning).await.map_err(text)?;
        let mut messages = consumer.messages().await.map_err(text)?;
        let mut read = Vec::new();
        let mut bytes = 0;
        loop {
            let next = tokio::time::timeout(Duration::from_secs(ANSWER_S), messages.next()).await;
            let next = next.map_err(|_| format!("nothing came for {ANSWER_S} s"))?;
            let message = next.ok_or("the replay ended early")?.map_err(text)?;
            let message = stored(message)?;
            bytes += message.payload.len();
            if bytes > REPLAY_BYTES_MAX {
                return Ok(None);
            }
            let done = message.sequence >= last;
            read.push(message);
            if done {
                return Ok(Some(read));
            }
        }
    }

    /// Removes every message whose subject fits `filter`, or those up to and with sequence `until`;
    /// returns how many there were.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn purge(
        &self,
        stream: Stream,
        filter: &str,
        until: Option<u64>,
    ) -> Result<u64, ReadError> {
        let asked = async {
            let purge = self.handle(stream).await?.purge().filter(filter);
            // The server keeps the sequence that it is told.
            let purged = match until {
                Some(sequence) => purge.sequence(sequence + 1).await,
                None => purge.await,
            };
            purged.map_err(text)
        };
        Ok(self.asked(filter, asked).await?.purged)
    }

    /// Removes the messages whose subjects fit `filter`, but for the newest `keep` of them; returns how
    /// many went.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn purge_oldest(
        &self,
        stream: Stream,
        filter: &str,
        keep: u64,
    ) -> Result<u64, ReadError> {
        let asked = async {
            let purge = self.handle(stream).await?.purge().filter(filter);
            purge.keep(keep).await.map_err(text)
        };
        Ok(self.asked(filter, asked).await?.purged)
    }

    /// Asks nothing yet.
    async fn handle(&self, stream: Stream) -> Result<Handle<()>, String> {
        let handle = self.jetstream.get_stream_no_info(stream.name()).await;
        handle.map_err(text)
    }

    /// What the server answers about `subject`; at once that it is away when it is, or when the
    /// connection is lost meanwhile.
    async fn asked<T>(
        &self,
        subject: &str,
        request: impl Future<Output = Result<T, String>>,
    ) -> Result<T, ReadError> {
        let answer = self.answered(request).await.flatten();
        answer.map_err(|why| ReadError::Unavailable {
            subject: subject.to_owned(),
            why,
        })
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn message_bytes(message: &PublishMessage) -> usize {
    message.clone().outbound_message("").payload.len()
}

/// A message of a consumer as we keep it.
pub(super) fn stored(message: async_nats::jetstream::Message) -> Result<StoredMessage, String> {
    let info = message.info().map_err(|error| error.to_string())?;
    let sequence = info.stream_sequence;
    let traceparent = message.headers.as_ref().and_then(traceparent);
    Ok(StoredMessage {
        sequence,
        traceparent,
        subject: message.subject.to_string(),
        payload: message.message.payload,
    })
}
