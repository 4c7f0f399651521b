//! A real nats-server for one test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fl_runtime::nats::{Nats, NatsServer, NatsSettings};
use tempfile::TempDir;

/// A nats-server with JetStream on a free loopback port; ends with the value, its data too.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Not yet running.
    pub(crate) fn new() -> Self {
        Self {
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    pub(crate) fn running() -> Self {
        let mut server = Self::new();
        server.start();
        server
    }

    /// Starts it, also after [`Self::kill`], on the same port with the same data.
    pub(crate) fn start(&mut self) {
        let data = self.folder.path().join("data");
        let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from).expect(
            "NATS_SERVER is not set: run `cargo xtask test`, or set it to a nats-server of 2.11 or newer",
        );
        let child = Command::new(binary)
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--jetstream", "--store_dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("nats-server starts"));
    }

    /// As SIGKILL does it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> Nats {
        let server = NatsServer::new(&NatsSettings::at(self.url()), self.folder.path()).unwrap();
        Nats::connect(&server, "test").await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
