//! The session with NATS: streams with conditional appends, followers, objects by digest, core messages.

mod durability;
mod follow;
mod objects;
mod streams;

pub use durability::{Durability, durability};
pub use follow::{Follower, From};
pub use objects::{OBJECT_BYTES_MAX, ObjectError};
pub use streams::{AppendError, ReadError, SetupError, StoredMessage, Stream, StreamLimits};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use futures::StreamExt as _;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::settings::Secret;
use crate::tls::{TlsError, TlsFiles};
use crate::url::{BusUrl, InvalidUrl, Scheme};

/// How long one attempt to connect may take, in seconds.
const CONNECT_S: u64 = 5;

/// How long the server may take to answer a request or acknowledge an append, in seconds.
const ANSWER_S: u64 = 10;

/// Between signs of life, in seconds; two missed ones end the connection.
const PING_S: u64 = 5;

/// Between lines about a server that stays away, in seconds.
const REMINDER_S: u64 = 30;

/// Longest wait between attempts to connect again, in milliseconds.
const RECONNECT_MS_MAX: u64 = 2_000;

/// Messages that may wait for one core subscription.
const SUBSCRIPTION_MAX: usize = 1_024;

/// The header in which the W3C trace context travels, for other tools.
const TRACEPARENT: &str = "traceparent";

const SCHEMES: [Scheme; 2] = [
    Scheme {
        name: "nats",
        tls: false,
        default_port: 4222,
    },
    Scheme {
        name: "tls",
        tls: true,
        default_port: 4222,
    },
];

/// Which server: the `nats` section of a settings file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// `nats://host:4222` or `tls://host:4222`; several servers of a cluster, separated by commas.
    pub url: String,
    /// User, with a password.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of the user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Token, instead of a user.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Credentials file with JWT and seed, instead of a user.
    #[serde(default)]
    pub creds_file: Option<PathBuf>,
    /// PEM of the authorities to trust with `tls`; the system's when there is none.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate, when the server wants one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl NatsSettings {
    /// Only an address; nothing else set.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            token: None,
            creds_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

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

/// A server to connect to, with everything that was read from files.
#[derive(Clone)]
pub struct NatsServer {
    urls: Vec<BusUrl>,
    login: Login,
    tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone)]
enum Login {
    Nobody,
    User(String, Secret),
    Token(Secret),
    Credentials(Secret),
}

impl NatsServer {
    /// Checks `settings` and reads the files they name, relative ones from `folder`.
    ///
    /// # Errors
    /// Every [`NatsError`] but those of the server itself.
    pub fn new(settings: &NatsSettings, folder: &Path) -> Result<Self, NatsError> {
        let urls: Result<Vec<_>, _> = settings
            .url
            .split(',')
            .map(|url| BusUrl::parse(url.trim(), &SCHEMES))
            .collect();
        let urls = urls?;
        let encrypted = urls.iter().filter(|url| url.scheme.tls).count();
        if encrypted != 0 && encrypted != urls.len() {
            return Err(NatsError::MixedSchemes);
        }
        let files = TlsFiles {
            ca_file: settings.ca_file.clone(),
            cert_file: settings.cert_file.clone(),
            key_file: settings.key_file.clone(),
        };
        let tls = match encrypted {
            0 if !files.is_empty() => return Err(NatsError::TlsUnused),
            0 => None,
            _ => Some(files.client_config(folder)?),
        };
        let login = login(settings, &urls, folder)?;
        Ok(Self { urls, login, tls })
    }

    /// The addresses, without secrets.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.urls.iter().map(BusUrl::to_string).collect();
        urls.join(",")
    }

    fn options(&self, name: &str) -> Result<ConnectOptions, NatsError> {
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(CONNECT_S))
            .request_timeout(Some(Duration::from_secs(ANSWER_S)))
            .ping_interval(Duration::from_secs(PING_S))
            .subscription_capacity(SUBSCRIPTION_MAX)
            .reconnect_delay_callback(reconnect_delay);
        let options = match &self.tls {
            Some(tls) => options
                .require_tls(true)
                .tls_client_config(ClientConfig::clone(tls)),
            None => options,
        };
        Ok(match &self.login {
            Login::Nobody => options,
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Login::Token(token) => options.token(token.expose().to_owned()),
            Login::Credentials(text) => {
                let parsed = options.credentials(text.expose());
                parsed.map_err(|source| NatsError::Credentials {
                    path: PathBuf::new(),
                    source,
                })?
            }
        })
    }
}

fn login(settings: &NatsSettings, urls: &[BusUrl], folder: &Path) -> Result<Login, NatsError> {
    let in_url = urls.first();
    let user = settings
        .user
        .clone()
        .or_else(|| in_url.and_then(|url| url.user.clone()));
    let password = settings
        .password
        .clone()
        .or_else(|| in_url.and_then(|url| url.password.clone()));
    match (user, password, &settings.token, &settings.creds_file) {
        (None, None, None, None) => Ok(Login::Nobody),
        (Some(user), Some(password), None, None) => Ok(Login::User(user, password)),
        (None, None, Some(token), None) => Ok(Login::Token(token.clone())),
        (None, None, None, Some(path)) => {
            let path = folder.join(path);
            let wrong = |source| NatsError::Credentials {
                path: path.clone(),
                source,
            };
            let text = std::fs::read_to_string(&path).map_err(wrong)?;
            ConnectOptions::new().credentials(&text).map_err(wrong)?;
            Ok(Login::Credentials(Secret::new(text)))
        }
        _ => Err(NatsError::Login),
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let mut backoff = Backoff::new();
    for _ in 2..attempts.min(8) {
        backoff.next();
    }
    backoff.next().min(Duration::from_millis(RECONNECT_MS_MAX))
}

/// A session; clones share its connection, which comes back by itself.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    jetstream: jetstream::Context,
    url: Arc<str>,
    connects: watch::Receiver<u64>,
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
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Connects, or says at once why not.
    ///
    /// # Errors
    /// Every [`NatsError`] of the server itself.
    pub async fn connect_once(server: &NatsServer, name: &str) -> Result<Self, NatsError> {
        let url: Arc<str> = server.url().into();
        let (connected, connects) = watch::channel(0);
        let told = url.clone();
        let options = server.options(name)?.event_callback(move |event| {
            tell(&told, &event);
            if matches!(event, Event::Connected) {
                connected.send_modify(|connects| *connects += 1);
            }
            std::future::ready(())
        });
        let addresses: Vec<String> = server.urls.iter().map(BusUrl::to_string).collect();
        let client = options
            .connect(addresses)
            .await
            .map_err(|error| refusal(&error, &url, server.tls.is_some()))?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(ANSWER_S))
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            url,
            connects,
        })
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
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
        Event::ClientError(error) => {
            tracing::warn!("the session with nats at {url} reports: {error}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_before_anything_is_tried() {
        let check = |change: fn(&mut NatsSettings), expected: Option<&str>| {
            let mut settings = NatsSettings::at("nats://root:4222");
            change(&mut settings);
            let result = NatsServer::new(&settings, Path::new("/nonexistent"));
            match (result, expected) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
                (Ok(_), Some(part)) => panic!("{settings:?} should fail with {part}"),
                (Err(error), None) => panic!("{settings:?}: {error}"),
            }
        };
        check(|_| {}, None);
        check(|s| s.url = "nats://a,nats://b:4333".into(), None);
        check(|s| s.url = "nats://u:p@a".into(), None);
        check(|s| s.url = "nats://a,tls://b".into(), Some("mixes"));
        check(|s| s.url = "mqtt://a".into(), Some("nats.url"));
        check(|s| s.ca_file = Some("ca.pem".into()), Some("tls://"));
        check(|s| s.user = Some("u".into()), Some("exactly one"));
        check(
            |s| {
                s.url = "nats://u:p@a".into();
                s.token = Some(Secret::new("t"));
            },
            Some("exactly one"),
        );
        check(
            |s| s.creds_file = Some("x.creds".into()),
            Some("/nonexistent/x.creds"),
        );
    }

    #[test]
    fn waits_before_connecting_again_are_bounded() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempts in 2..40 {
            assert!(reconnect_delay(attempts) <= Duration::from_millis(RECONNECT_MS_MAX));
        }
    }
}
