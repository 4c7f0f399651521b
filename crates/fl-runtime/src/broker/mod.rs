//! The MQTT broker that a fog-aggregator carries with it.
//!
//! It keeps nothing on disk. It dies with its fog, every client begins a clean session, a device sends
//! again whatever it has no answer for, and the fog announces its plans anew at each start; a presence
//! that outlived its broker would only be wrong.
//!
//! Who may do what is in `access`. Encryption ends in `front`, before the broker proper: its own would
//! not tell whose certificate a client has shown.

mod access;
mod certificate;
mod front;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fl_model::RegionId;
use mqtt5::MqttError;
use mqtt5::broker::auth::PasswordAuthProvider;
use mqtt5::broker::config::{
    AuthConfig, BrokerConfig, RateLimitConfig, StorageBackend, StorageConfig,
};
use mqtt5::broker::server::{BrokerShutdownHandle, MqttBroker};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::access::{Access, Door, Passwords};
use self::front::{Front, Peers};
use crate::mqtt::{MqttServer, MqttSettings, PACKET_BYTES_MAX};
use crate::settings::Secret;
use crate::tls::TlsError;

/// Clients at once unless the settings say otherwise.
const CLIENTS_MAX: usize = 1_000;

/// Messages that may wait for one connected client, in each lane.
const CLIENT_QUEUE_MAX: usize = 1_024;

/// Messages and bytes that may wait for one client whose lanes are full. Beyond that the crate drops
/// the oldest without a word: a device asks for the chunks that it has not got.
const CLIENT_BACKLOG_MAX: usize = 1_024;
const CLIENT_BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Retained messages: a plan per job, a presence per device.
const RETAINED_MAX: usize = 10_000;

/// Filters that one client may subscribe to.
const SUBSCRIPTIONS_MAX: usize = 32;

/// Bytes of the fog's own secret, new at each start.
const OWN_SECRET_BYTES: usize = 32;

/// How long the broker may take to end, in seconds.
const STOP_S: u64 = 8;

/// How long the broker may take to accept its first client, in seconds.
const READY_S: u64 = 10;

/// The embedded broker: the `embedded_broker` section of a fog's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSettings {
    /// Address and port to listen on; 0 lets the system choose a port.
    pub listen: String,
    /// PEM of the server's certificate with its chain: turns TLS on.
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    pub key_file: Option<PathBuf>,
    /// PEM of the authorities whose client certificates are accepted; the common name is the device.
    pub client_ca_file: Option<PathBuf>,
    /// Lines of `device:hash`, made with [`hash_password`].
    pub password_file: Option<PathBuf>,
    /// Clients at once.
    pub clients_max: usize,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1883".into(),
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            password_file: None,
            clients_max: CLIENTS_MAX,
        }
    }
}

/// Why the broker does not run. Each names the setting.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is none.
    #[error(
        "embedded_broker.listen {listen:?} is not an address: write 127.0.0.1:1883 or [::1]:1883"
    )]
    Listen {
        /// What was set.
        listen: String,
    },
    /// Something else has the port.
    #[error("port {} of {} is in use: stop what listens there, or set embedded_broker.listen to another port", address.port(), address.ip())]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (embedded_broker.listen): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Open to others without protection.
    #[error(
        "embedded_broker.listen is {address}, which other machines may reach: set embedded_broker.cert_file and key_file, and password_file or client_ca_file; or listen on 127.0.0.1"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// One of certificate and key.
    #[error(
        "embedded_broker.cert_file and embedded_broker.key_file belong together: set both or neither"
    )]
    Unpaired,
    /// Client certificates without TLS.
    #[error("embedded_broker.client_ca_file needs TLS: set embedded_broker.cert_file and key_file")]
    ClientCaWithoutTls,
    /// No client could come.
    #[error("embedded_broker.clients_max is 0: set at least 1")]
    NoClients,
    /// Certificates cannot be used.
    #[error("embedded_broker: {0}")]
    Tls(#[from] TlsError),
    /// Passwords cannot be used.
    #[error("embedded_broker.password_file {}: {why}", path.display())]
    Passwords {
        /// The file.
        path: PathBuf,
        /// Which line, and what about it.
        why: String,
    },
    /// The broker itself refused.
    #[error("the embedded broker does not start: {0}")]
    Start(MqttError),
    /// The broker came up too slowly.
    #[error("the embedded broker accepted nobody within {READY_S} s: see its log lines")]
    NotReady,
}

/// A running broker; ends when it is stopped or dropped.
pub struct Broker {
    address: SocketAddr,
    inner_address: SocketAddr,
    own_secret: Secret,
    shutdown: BrokerShutdownHandle,
    task: Option<JoinHandle<()>>,
    front: Option<Front>,
}

impl Broker {
    /// Starts a broker for `region`; relative files are looked for in `folder`. Returns when it accepts
    /// clients.
    ///
    /// # Errors
    /// Every [`BrokerError`].
    pub async fn start(
        settings: &BrokerSettings,
        region: &RegionId,
        folder: &Path,
    ) -> Result<Self, BrokerError> {
        let (address, tls) = check(settings)?;
        let passwords = match &settings.password_file {
            Some(path) => Some(Passwords::read(&folder.join(path))?),
            None => None,
        };
        let own_secret = Secret::new(own_secret());
        let peers = Arc::new(Peers::default());
        let outside = bind(address).await?;
        let (front, door, inner) = if tls {
            let tls = front::server_config(settings, folder, passwords.is_some())?;
            let door = Door::Encrypted {
                peers: peers.clone(),
            };
            let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (Some((tls, outside)), door, inner)
        } else {
            // The broker binds by itself; this listener only found out whether it can.
            let inner = outside.local_addr().unwrap_or(address);
            drop(outside);
            (None, Door::Loopback, inner)
        };
        let access = Access::new(region, own_secret.clone(), door, passwords);
        let (shutdown, task, inner_address) = run(inner, settings.clients_max, access).await?;
        let front = front.map(|(tls, listener)| {
            Front::start(listener, tls, inner_address, peers, settings.clients_max)
        });
        let address = front.as_ref().map_or(inner_address, Front::address);
        tracing::info!("embedded mqtt broker listens on {address}");
        Ok(Self {
            address,
            inner_address,
            own_secret,
            shutdown,
            task: Some(task),
            front,
        })
    }

    /// Where devices connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the fog itself connects: the one user that may do everything in the region.
    pub fn own_server(&self) -> MqttServer {
        let settings = MqttSettings {
            user: Some(access::OWN_USER.into()),
            password: Some(self.own_secret.clone()),
            ..MqttSettings::at(format!("mqtt://{}", self.inner_address))
        };
        // An address that is being listened on is an address, and no file is named.
        MqttServer::new(&settings, Path::new(".")).expect("the broker's own address is valid")
    }

    /// The client id for the fog's own session.
    pub fn own_client_id(&self) -> &'static str {
        access::OWN_USER
    }

    /// Ends the broker and every connection to it.
    pub async fn stop(mut self) {
        self.front = None;
        self.shutdown.shutdown();
        if let Some(task) = self.task.take() {
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(STOP_S), task)
                .await
                .is_err()
            {
                tracing::warn!("the embedded broker did not end within {STOP_S} s");
                abort.abort();
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A salted hash of `password` for the password file; takes about a tenth of a second by intention.
///
/// # Errors
/// Says why the system could not make one.
pub fn hash_password(password: &str) -> Result<String, String> {
    PasswordAuthProvider::hash_password(password).map_err(|error| error.to_string())
}

/// The address, and whether connections are encrypted.
fn check(settings: &BrokerSettings) -> Result<(SocketAddr, bool), BrokerError> {
    let listen = settings.listen.replacen("localhost:", "127.0.0.1:", 1);
    let address: SocketAddr = listen.parse().map_err(|_| BrokerError::Listen {
        listen: settings.listen.clone(),
    })?;
    let tls = match (&settings.cert_file, &settings.key_file) {
        (Some(_), Some(_)) => true,
        (None, None) => false,
        _ => return Err(BrokerError::Unpaired),
    };
    let credentials = settings.password_file.is_some() || settings.client_ca_file.is_some();
    let protected = tls && credentials;
    if !protected && !is_loopback(address.ip()) {
        return Err(BrokerError::Unprotected { address });
    }
    if settings.client_ca_file.is_some() && !tls {
        return Err(BrokerError::ClientCaWithoutTls);
    }
    if settings.clients_max == 0 {
        return Err(BrokerError::NoClients);
    }
    Ok((address, tls))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

async fn bind(address: SocketAddr) -> Result<TcpListener, BrokerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BrokerError::PortInUse { address },
            _ => BrokerError::Bind { address, source },
        })
}

fn own_secret() -> String {
    let bytes: [u8; OWN_SECRET_BYTES] = rand::random();
    fl_model::Digest(bytes).to_string()
}

async fn run(
    address: SocketAddr,
    clients_max: usize,
    access: Access,
) -> Result<(BrokerShutdownHandle, JoinHandle<()>, SocketAddr), BrokerError> {
    let broker = MqttBroker::with_config(config(address, clients_max)).await;
    let mut broker = broker
        .map_err(BrokerError::Start)?
        .with_auth_provider(Arc::new(access));
    let address = broker.local_addr().ok_or(BrokerError::NotReady)?;
    let shutdown = broker.shutdown_handle();
    let mut ready = broker.ready_receiver();
    let task = tokio::spawn(async move {
        if let Err(error) = broker.run().await {
            tracing::error!("the embedded broker ended: {error}");
        }
    });
    let accepted =
        tokio::time::timeout(Duration::from_secs(READY_S), ready.wait_for(|ready| *ready));
    match accepted.await {
        Ok(Ok(_)) => {}
        _ => {
            task.abort();
            return Err(BrokerError::NotReady);
        }
    }
    Ok((shutdown, task, address))
}

fn config(address: SocketAddr, clients_max: usize) -> BrokerConfig {
    let mut config = BrokerConfig::new()
        .with_bind_address(address)
        // One more than the clients: the fog itself.
        .with_max_clients(clients_max.saturating_add(1))
        .with_session_expiry(Duration::ZERO)
        .with_max_packet_size(PACKET_BYTES_MAX as usize)
        .with_max_subscriptions_per_client(SUBSCRIPTIONS_MAX)
        .with_max_retained_messages(RETAINED_MAX)
        .with_max_retained_message_size(PACKET_BYTES_MAX as usize)
        .with_client_channel_capacity(CLIENT_QUEUE_MAX)
        .with_sys_topics_enabled(false)
        .with_storage(
            StorageConfig::new()
                .with_backend(StorageBackend::Memory)
                .with_persistence(false)
                .with_max_queued_messages_per_client(CLIENT_BACKLOG_MAX)
                .with_max_queued_bytes_per_client(CLIENT_BACKLOG_BYTES_MAX),
        )
        // Without a file the crate takes no other value; our own provider replaces it before the
        // first client is accepted.
        .with_auth(AuthConfig {
            allow_anonymous: true,
            rate_limit: RateLimitConfig {
                enabled: false,
                ..RateLimitConfig::default()
            },
            ..AuthConfig::default()
        });
    config.shared_subscription_available = false;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_machines_may_reach_must_be_protected() {
        let check = |change: fn(&mut BrokerSettings), expected: Option<&str>| {
            let mut settings = BrokerSettings::default();
            change(&mut settings);
            match (super::check(&settings), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (result, _) => panic!("{settings:?}: {result:?}"),
            }
        };
        fn tls(settings: &mut BrokerSettings) {
            settings.cert_file = Some("cert.pem".into());
            settings.key_file = Some("key.pem".into());
        }
        check(|_| {}, None);
        check(|s| s.listen = "localhost:0".into(), None);
        check(|s| s.listen = "[::1]:1883".into(), None);
        check(
            |s| s.listen = "fog:1883".into(),
            Some("embedded_broker.listen"),
        );
        check(|s| s.listen = "0.0.0.0:1883".into(), Some("cert_file"));
        check(|s| s.listen = "[::]:1883".into(), Some("cert_file"));
        check(
            |s| {
                s.listen = "0.0.0.0:8883".into();
                tls(s);
            },
            Some("password_file"),
        );
        check(
            |s| {
                s.listen = "0.0.0.0:8883".into();
                s.password_file = Some("passwords".into());
            },
            Some("cert_file"),
        );
        check(
            |s| {
                s.listen = "0.0.0.0:8883".into();
                tls(s);
                s.password_file = Some("passwords".into());
            },
            None,
        );
        check(|s| s.cert_file = Some("cert.pem".into()), Some("both"));
        check(
            |s| s.client_ca_file = Some("ca.pem".into()),
            Some("needs TLS"),
        );
        check(|s| s.clients_max = 0, Some("clients_max"));
    }
}
