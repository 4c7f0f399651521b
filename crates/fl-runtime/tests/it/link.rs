//! A link that can be cut and frozen, between a client and a real server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on to a server.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    frozen: watch::Sender<bool>,
    cuts: Arc<AtomicU64>,
}

impl Link {
    /// A link to `server` that is cut each time this many bytes went up through it.
    pub(crate) async fn to(server: SocketAddr, cut_each_bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (frozen, is_frozen) = watch::channel(false);
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let (is_frozen, cuts) = (is_frozen.clone(), counted.clone());
                tokio::spawn(async move {
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::select! {
                        () = pass(client_in, server_out, is_frozen.clone(), cut_each_bytes) => {}
                        () = pass(server_in, client_out, is_frozen, u64::MAX) => {}
                    }
                    cuts.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            frozen,
            cuts,
        }
    }

    /// Holds every byte back, or lets them go again; connections stay open.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// Connections that have ended.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
    mut bytes_left: u64,
) {
    let mut buffer = vec![0; 16 * 1024];
    while bytes_left > 0 {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        bytes_left = bytes_left.saturating_sub(read as u64);
    }
}
