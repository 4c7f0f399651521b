//! Where encryption ends: TLS outside, the broker's loopback port inside.
//!
//! The connection inside is bound before it is made, so the broker can ask who stands behind its
//! address as soon as the first packet arrives.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::common_name;
use super::{BrokerError, BrokerSettings};
use crate::tls;

/// How long a TLS handshake may take, in seconds.
const HANDSHAKE_S: u64 = 10;

/// Wait after a failed accept, in milliseconds: it fails when descriptors run out.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Who came through the front, by the address that the broker sees.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<HashMap<SocketAddr, Peer>>);

/// Somebody who came through the front.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// The common name of the certificate that was shown and verified.
    pub(super) common_name: Option<String>,
}

impl Peers {
    pub(super) fn get(&self, address: &SocketAddr) -> Option<Peer> {
        self.map().get(address).cloned()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<SocketAddr, Peer>> {
        // Only single inserts, removes and reads happen under it: it is never torn.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a peer when its connection ends, however it ends.
struct Registered<'a> {
    peers: &'a Peers,
    address: SocketAddr,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.peers.map().remove(&self.address);
    }
}

/// The listening side; ends, with all its connections, when it is dropped.
pub(super) struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Front {
    pub(super) fn start(
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        inner: SocketAddr,
        peers: Arc<Peers>,
        clients_max: usize,
    ) -> Self {
        let address = listener.local_addr().unwrap_or(inner);
        let task = tokio::spawn(accept(listener, tls, inner, peers, clients_max));
        Self { address, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's side of TLS. A client must show a certificate when nothing else can identify it.
pub(super) fn server_config(
    settings: &BrokerSettings,
    folder: &Path,
    has_passwords: bool,
) -> Result<Arc<ServerConfig>, BrokerError> {
    let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
        return Err(BrokerError::Unpaired);
    };
    let (cert, key) = (folder.join(cert), folder.join(key));
    let provider = tls::provider();
    let verifier = match &settings.client_ca_file {
        None => Arc::new(NoClientAuth) as Arc<_>,
        Some(path) => {
            let roots = Arc::new(tls::roots("client_ca_file", &folder.join(path))?);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let builder = match has_passwords {
                true => builder.allow_unauthenticated(),
                false => builder,
            };
            let verifier = builder.build();
            verifier
                .map_err(|error| rustls::Error::General(error.to_string()))
                .map_err(tls::TlsError::from)?
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls::TlsError::from)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            tls::certificates("cert_file", &cert)?,
            tls::private_key("key_file", &key)?,
        )
        .map_err(|error| tls::mismatch(&cert, &key, &error))?;
    Ok(Arc::new(config))
}

async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    inner: SocketAddr,
    peers: Arc<Peers>,
    clients_max: usize,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(clients_max));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the broker cannot accept connections: {error}");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let (acceptor, peers) = (acceptor.clone(), peers.clone());
        connections.spawn(async move {
            let _permit = permit;
            let handshake = acceptor.accept(stream);
            match tokio::time::timeout(Duration::from_secs(HANDSHAKE_S), handshake).await {
                Ok(Ok(outside)) => relay(outside, inner, &peers).await,
                Ok(Err(error)) => {
                    tracing::warn!("no TLS with {address}: {error}");
                }
                Err(_) => tracing::warn!("no TLS with {address} within {HANDSHAKE_S} s"),
            }
        });
    }
}

/// Joins the two connections until either ends.
async fn relay(mut outside: TlsStream<TcpStream>, inner: SocketAddr, peers: &Peers) {
    let certificates = outside.get_ref().1.peer_certificates();
    let name = certificates
        .and_then(|chain| chain.first())
        .map(common_name);
    let peer = match name {
        None => Peer { common_name: None },
        Some(Some(name)) => Peer {
            common_name: Some(name),
        },
        Some(None) => {
            tracing::warn!(
                "a client's certificate has no common name, or several: it must name the device"
            );
            return;
        }
    };
    let connected = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        peers.map().insert(address, peer);
        let registered = Registered { peers, address };
        let stream = socket.connect(inner).await?;
        stream.set_nodelay(true)?;
        outside.get_ref().0.set_nodelay(true)?;
        Ok::<_, std::io::Error>((stream, registered))
    };
    match connected.await {
        Ok((mut inside, _registered)) => {
            // An error is how most connections end: a device is switched off.
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        }
        Err(error) => tracing::warn!("the broker's inner port does not answer: {error}"),
    }
}
