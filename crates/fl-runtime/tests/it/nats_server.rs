//! A real nats-server for one test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fl_runtime::nats::{Nats, NatsServer, NatsSettings};
use tempfile::TempDir;

/// A nats-server with JetStream on a free loopback port; ends with the value, its data too.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) monitor_port: u16,
    pub(crate) folder: TempDir,
    extra: String,
    child: Option<Child>,
}

impl Server {
    /// Not yet running. `extra` goes into its configuration.
    pub(crate) fn new(extra: &str) -> Self {
        Self {
            port: free_port(),
            monitor_port: free_port(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            extra: extra.to_owned(),
            child: None,
        }
    }

    pub(crate) fn running(extra: &str) -> Self {
        let mut server = Self::new(extra);
        server.start();
        server
    }

    /// Starts it, also after [`Self::kill`], on the same port with the same data.
    pub(crate) fn start(&mut self) {
        let config = self.folder.path().join("nats.conf");
        let text = format!(
            "listen: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n{}\n",
            self.port,
            self.monitor_port,
            self.extra
                .replace("STORE", &self.folder.path().display().to_string())
        );
        std::fs::write(&config, text).expect("a configuration");
        let child = Command::new(binary())
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("nats-server starts"));
    }

    /// As SIGKILL does it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was running");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn settings(&self) -> NatsSettings {
        NatsSettings::at(format!("nats://127.0.0.1:{}", self.port))
    }

    pub(crate) fn server(&self, settings: &NatsSettings) -> NatsServer {
        NatsServer::new(settings, self.folder.path()).expect("settings")
    }

    pub(crate) async fn connect(&self) -> Nats {
        Nats::connect(&self.server(&self.settings()), "test")
            .await
            .expect("a session")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// JetStream with its data in the test's folder.
pub(crate) const JETSTREAM: &str = "jetstream { store_dir: \"STORE/data\" }";

fn binary() -> PathBuf {
    let path = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    path.expect("NATS_SERVER is not set: run `cargo xtask test`, or set it to a nats-server of 2.11 or newer")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
