//! The session with NATS: streams with conditional appends, followers, objects by digest, core messages.

mod durability;
mod follow;
mod objects;
mod server;
mod setup;
mod streams;

pub use durability::{Durability, durability};
pub use follow::{Follower, From};
pub use objects::{OBJECT_BYTES_MAX, ObjectError};
pub use server::{NatsServer, NatsSettings};
pub use setup::{SetupError, StreamLimits};
pub use streams::{AppendError, ReadError, StoredMessage, Stream};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, ConnectError, ConnectErrorKind, Event, HeaderMap};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::watch;

use self::server::CONNECT_S;
use crate::backoff::Backoff;
use crate::tls::TlsError;
use crate::url::{BusUrl, InvalidUrl};

/// How long the server may take to answer a request or acknowledge an append, in seconds.
const ANSWER_S: u64 = 10;

/// Why there is no answer to a request whose connection is gone.
const LOST: &str = "the connection was lost before the answer";

/// Between lines about a server that stays away, in seconds.
const REMINDER_S: u64 = 30;

/// Messages that may wait for one core subscription.
const SUBSCRIPTION_MAX: usize = 1_024;

/// The header in which the W3C trace context travels, for other tools.
const TRACEPARENT: &str = "traceparent";

/// Why there is no session. Each names the setting or the address.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The address is none.
    #[error("nats.url: {0}")]
    Url(#[from] InvalidUrl),
    /// Certificates cannot be used.
    #[error("nats: {0}")]
    Tls(#[from] TlsError),
    /// Certificates for a connection that is not encrypted.
    #[error(
        "nats: certificates are set but nats.url begins with nats://: write tls://, or remove ca_file, cert_file and key_file"
    )]
    TlsUnused,
    /// One cluster, spoken to in two ways.
    #[error("nats.url mixes nats:// and tls://: use one of them for every server")]
    MixedSchemes,
    /// More than one way to log in, or half of one.
    #[error(
        "nats: log in by user and password, by token, or by creds_file: set exactly one of them, or none"
    )]
    Login,
    /// The credentials file cannot be used.
    #[error("nats.creds_file {}: {source}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The server does not let us in.
    #[error(
        "nats at {url} does not let us in: check nats.user and nats.password, nats.token or nats.creds_file"
    )]
    Refused {
        /// The address.
        url: String,
    },
    /// There is no server, or none that we can speak to.
    #[error("nats at {url} is away: {why}")]
    Away {
        /// The address.
        url: String,
        /// What happened and what to check.
        why: String,
    },
}

/// A session; clones share its connection, which comes back by itself.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    jetstream: jetstream::Context,
    url: Arc<str>,
    connects: watch::Receiver<u64>,
    is_back: watch::Receiver<bool>,
}

impl Nats {
    /// Connects, and waits for the server as long as it is away: a line says so.
    ///
    /// # Errors
    /// [`NatsError::Refused`] and [`NatsError::Credentials`]: waiting does not help there.
    pub async fn connect(server: &NatsServer, name: &str) -> Result<Self, NatsError> {
        let mut backoff = Backoff::new();
        let mut told: Option<Instant> = None;
        loop {
            let why = match Self::connect_once(server, name).await {
                Err(NatsError::Away { why, .. }) => why,
                result => {
                    if result.is_ok() {
                        tracing::info!("connected to nats at {}", server.url());
                    }
                    return result;
                }
            };
            if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(REMINDER_S)) {
                told = Some(Instant::now());
                tracing::warn!("nats at {} is away, retrying: {why}", server.url());
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Connects, or says at once why not.
    ///
    /// # Errors
    /// Every [`NatsError`] of the server itself.
    pub async fn connect_once(server: &NatsServer, name: &str) -> Result<Self, NatsError> {
        let url: Arc<str> = server.url().into();
        let (connected, connects) = watch::channel(0);
        let (back, is_back) = watch::channel(false);
        let told = url.clone();
        let options = server.options(name)?.event_callback(move |event| {
            tell(&told, &event);
            match event {
                Event::Connected => {
                    // In this order: who sees that the bus is back sees the reconnection, too.
                    connected.send_modify(|connects| *connects += 1);
                    back.send_replace(true);
                }
                Event::Disconnected => {
                    back.send_replace(false);
                }
                _ => {}
            }
            std::future::ready(())
        });
        let addresses: Vec<String> = server.urls.iter().map(BusUrl::to_string).collect();
        let client = options
            .connect(addresses)
            .await
            .map_err(|error| refusal(&error, &url, server.tls.is_some()))?;
        // The first connection is none made anew: whoever waits for an answer must not take it for one.
        let mut back = is_back.clone();
        let first = back.wait_for(|back| *back);
        let _ = tokio::time::timeout(Duration::from_secs(CONNECT_S), first).await;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(ANSWER_S))
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            url,
            connects,
            is_back,
        })
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Whether there is a connection of which [`Nats::reconnects`] has told; an answer may come a little
    /// earlier.
    pub fn is_back(&self) -> bool {
        *self.is_back.borrow()
    }

    /// Waits for [`Nats::is_back`].
    pub async fn until_back(&self) {
        let mut back = self.is_back.clone();
        // The sender lives as long as the client.
        let _ = back.wait_for(|back| *back).await;
    }

    /// Changes whenever the connection is made anew.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Waits for an answer, or says why none comes: there is no connection, or it is lost meanwhile. What
    /// asks the server for something without this waits out [`ANSWER_S`] after a kill.
    async fn answered<T>(&self, answer: impl Future<Output = T>) -> Result<T, String> {
        let mut back = self.is_back.clone();
        if !*back.borrow_and_update() {
            return Err(format!("nats at {} is away", self.url()));
        }
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            Ok(()) = back.changed() => Err(LOST.to_owned()),
        }
    }

    /// The address, without secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Largest message that the server takes, in bytes; larger bytes travel as objects.
    pub fn message_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    /// Publishes a core message: whoever listens now gets it, perhaps.
    ///
    /// # Errors
    /// [`NatsError::Away`] without a connection.
    pub async fn publish(&self, subject: String, payload: Bytes) -> Result<(), NatsError> {
        if !self.is_connected() {
            return Err(self.away("not connected; heartbeats are not kept for later"));
        }
        let sent = self.client.publish(subject, payload).await;
        sent.map_err(|error| self.away(&error.to_string()))
    }

    /// Listens to core messages on `subject`, which may hold wildcards.
    ///
    /// # Errors
    /// [`NatsError::Away`].
    pub async fn subscribe(&self, subject: String) -> Result<Subscription, NatsError> {
        match self.client.subscribe(subject).await {
            Ok(messages) => Ok(Subscription { messages }),
            Err(error) => Err(self.away(&error.to_string())),
        }
    }

    /// Sends what is still waiting and ends the session.
    pub async fn close(self) {
        let drained = async {
            let _ = self.client.flush().await;
            let _ = self.client.drain().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(CONNECT_S), drained).await;
    }

    fn away(&self, why: &str) -> NatsError {
        NatsError::Away {
            url: self.url.to_string(),
            why: why.to_owned(),
        }
    }
}

/// Core messages as they come; when nobody takes them, the newest are dropped.
pub struct Subscription {
    messages: async_nats::Subscriber,
}

impl Subscription {
    /// Subject and payload of the next message; none when the session has ended. May be dropped and
    /// called anew.
    pub async fn next(&mut self) -> Option<(String, Bytes)> {
        let message = self.messages.next().await?;
        Some((message.subject.to_string(), message.payload))
    }
}

fn tell(url: &str, event: &Event) {
    match event {
        Event::Disconnected => tracing::warn!("nats at {url} is away, retrying"),
        Event::Connected => tracing::debug!("nats at {url} is there"),
        Event::SlowConsumer(_) => {
            tracing::warn!("core messages from nats are not taken fast enough and were dropped")
        }
        Event::ServerError(error) => tracing::warn!("nats at {url} reports: {error}"),
        // Comes with every attempt to connect again: that it is away was said already.
        Event::ClientError(error) => {
            tracing::debug!("the session with nats at {url} reports: {error}")
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::debug!("nats at {url}: {event}");
        }
    }
}

fn refusal(error: &ConnectError, url: &str, tls: bool) -> NatsError {
    let url = url.to_owned();
    let text = error.to_string();
    let why = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            return NatsError::Refused { url };
        }
        ConnectErrorKind::Dns => "the host's name cannot be resolved: check nats.url".into(),
        ConnectErrorKind::TimedOut => {
            "no answer: check the host, the port and any firewall between".into()
        }
        _ if text.contains("refused") => {
            "nothing listens there: check the port and that nats-server runs".into()
        }
        _ if !tls && (error.kind() == ConnectErrorKind::Tls || text.contains("certificate")) => {
            format!("it wants tls ({text}): write tls:// and set nats.ca_file")
        }
        _ if text.contains("UnknownIssuer") || text.contains("BadSignature") => {
            "its certificate is not signed by an authority in nats.ca_file".into()
        }
        _ if text.contains("NotValidForName") || text.contains("not valid for") => {
            "its certificate is for another name than the host in nats.url".into()
        }
        _ if text.contains("ertificateRequired") => {
            "it wants a client certificate: set nats.cert_file and nats.key_file".into()
        }
        ConnectErrorKind::Tls => {
            format!("tls failed ({text}): check that it speaks TLS, or write nats://")
        }
        _ => text,
    };
    NatsError::Away { url, why }
}

/// The trace context as a header, when there is one.
fn headers(traceparent: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(traceparent) =
        traceparent.filter(|value| value.bytes().all(|b| b.is_ascii_graphic()))
    {
        headers.insert(TRACEPARENT, traceparent);
    }
    headers
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers
        .get(TRACEPARENT)
        .map(|value| value.as_str().to_owned())
}
