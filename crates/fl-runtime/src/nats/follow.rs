//! Followers: messages of a stream from some place on, for as long as somebody asks.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use futures::StreamExt as _;
use tokio::sync::watch;

use super::streams::stored;
use super::{ANSWER_S, Nats, StoredMessage, Stream};
use crate::backoff::Backoff;

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The last message of every subject, then whatever comes.
    LastPerSubject,
    /// Everything that the stream holds, then whatever comes.
    Beginning,
    /// What comes after this sequence.
    After(u64),
}

/// Messages of a stream in order, each once per follower. It outlives servers: when the connection or
/// the consumer is lost, it goes on after the last message it gave out.
pub struct Follower {
    nats: Nats,
    stream: Stream,
    filters: Vec<String>,
    from: From,
    given: u64,
    messages: Option<Ordered>,
    connects: watch::Receiver<u64>,
    backoff: Backoff,
    told: bool,
}

impl Nats {
    /// Follows the subjects of `stream` that fit one of `filters`. Nothing happens before the first
    /// [`Follower::next`].
    pub fn follow(&self, stream: Stream, filters: Vec<String>, from: From) -> Follower {
        Follower {
            nats: self.clone(),
            stream,
            filters,
            from,
            given: match from {
                From::After(sequence) => sequence,
                From::LastPerSubject | From::Beginning => 0,
            },
            messages: None,
            connects: self.connects.clone(),
            backoff: Backoff::new(),
            told: false,
        }
    }
}

impl Follower {
    /// The next message; waits for it however long the server is away. May be dropped and called anew.
    pub async fn next(&mut self) -> StoredMessage {
        loop {
            let why = match self.step().await {
                Ok(Some(message)) => {
                    self.backoff.reset();
                    self.told = false;
                    return message;
                }
                Ok(None) => continue,
                Err(why) => why,
            };
            self.messages = None;
            if !self.told {
                self.told = true;
                tracing::warn!(
                    "{} cannot be followed now, retrying: {why}",
                    self.stream.name()
                );
            }
            tokio::time::sleep(self.backoff.next_wait()).await;
        }
    }

    /// None when there is nothing to give out yet but something to do.
    async fn step(&mut self) -> Result<Option<StoredMessage>, String> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            none => {
                self.nats.until_back().await;
                self.connects.mark_unchanged();
                let begin = begin(
                    &self.nats,
                    self.stream,
                    &self.filters,
                    self.from,
                    self.given,
                );
                let begin = tokio::time::timeout(Duration::from_secs(ANSWER_S), begin);
                let begun = self.nats.answered(begin).await?;
                let begun = begun.map_err(|_| format!("no answer for {ANSWER_S} s"))?;
                let (messages, given) = begun?;
                self.given = given;
                none.insert(messages)
            }
        };
        let message = tokio::select! {
            message = messages.next() => message,
            // A server that was restarted has forgotten the consumer: begin anew at once instead of
            // waiting for heartbeats that do not come.
            Ok(()) = self.connects.changed() => {
                self.messages = None;
                return Ok(None);
            }
        };
        let message = match message {
            Some(Ok(message)) => stored(message)?,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the consumer ended".into()),
        };
        if message.sequence <= self.given {
            return Ok(None);
        }
        self.given = message.sequence;
        Ok(Some(message))
    }
}

/// The messages after `given`, and `given`, which is 0 when the stream was made anew since.
async fn begin(
    nats: &Nats,
    stream: Stream,
    filters: &[String],
    from: From,
    given: u64,
) -> Result<(Ordered, u64), String> {
    let handle = nats.jetstream.get_stream(stream.name()).await;
    let handle = handle.map_err(|error| error.to_string())?;
    let last = handle.cached_info().state.last_sequence;
    let given = match last < given {
        true => {
            tracing::warn!(
                "{} ends at {last} although {given} was read: it was made anew and is read from its beginning",
                stream.name()
            );
            0
        }
        false => given,
    };
    let deliver_policy = match (given, from) {
        (1.., _) => DeliverPolicy::ByStartSequence {
            start_sequence: given + 1,
        },
        (0, From::LastPerSubject) => DeliverPolicy::LastPerSubject,
        (0, From::Beginning | From::After(_)) => DeliverPolicy::All,
    };
    let consumer = handle
        .create_consumer(OrderedConfig {
            filter_subjects: filters.to_vec(),
            deliver_policy,
            ..OrderedConfig::default()
        })
        .await
        .map_err(|error| error.to_string())?;
    let messages = consumer.messages().await;
    Ok((messages.map_err(|error| error.to_string())?, given))
}
