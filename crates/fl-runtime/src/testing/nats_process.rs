//! A real nats-server for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use super::{LIMIT, free_port, must};
use crate::nats::{Nats, NatsServer, NatsSettings};

/// JetStream with its data in the test's folder, as a part of the configuration.
pub const JETSTREAM: &str = "jetstream { store_dir: \"STORE/data\" }";

/// A nats-server on a free loopback port; ends with the value, its data too.
#[derive(Debug)]
pub struct NatsProcess {
    port: u16,
    monitor_port: u16,
    folder: TempDir,
    extra: String,
    child: Option<Child>,
}

impl NatsProcess {
    /// Not yet running. `extra` goes into its configuration; `STORE` in it becomes a folder of this server.
    pub fn new(extra: &str) -> Self {
        Self {
            port: free_port(),
            monitor_port: free_port(),
            folder: must("a temporary folder", tempfile::tempdir()),
            extra: extra.to_owned(),
            child: None,
        }
    }

    /// Running with JetStream, or whatever else `extra` says.
    pub fn running(extra: &str) -> Self {
        let mut server = Self::new(extra);
        server.start();
        server
    }

    /// Starts it, also after [`Self::kill`], on the same port with the same data.
    pub fn start(&mut self) {
        let config = self.folder.path().join("nats.conf");
        let folder = self.folder.path().display().to_string();
        let text = format!(
            "listen: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n{}\n",
            self.port,
            self.monitor_port,
            self.extra.replace("STORE", &folder)
        );
        must("a configuration", std::fs::write(&config, text));
        let child = Command::new(binary())
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(must("a start of nats-server", child));
    }

    /// As SIGKILL does it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            must("a kill", child.kill());
            must("an end", child.wait());
        }
    }

    /// Stops answering, while its connections stay; until [`Self::kill`].
    pub fn suspend(&self) {
        if let Some(child) = &self.child {
            let pid = Pid::from_child(child);
            must("a suspension", kill_process(pid, Signal::STOP));
            must("its stop", waitpid(Some(pid), WaitOptions::UNTRACED));
        }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is monitored.
    pub fn monitor_port(&self) -> u16 {
        self.monitor_port
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its folder: relative files of settings lie there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Only its address.
    pub fn settings(&self) -> NatsSettings {
        NatsSettings::at(self.url())
    }

    /// As `settings` say.
    pub fn server(&self, settings: &NatsSettings) -> NatsServer {
        must("settings", NatsServer::new(settings, self.folder()))
    }

    /// A session.
    pub async fn connect(&self) -> Nats {
        let server = self.server(&self.settings());
        let session = tokio::time::timeout(LIMIT, Nats::connect(&server, "test")).await;
        must("a session", must("a nats-server", session))
    }
}

impl Drop for NatsProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> PathBuf {
    match std::env::var_os("NATS_SERVER") {
        Some(path) => path.into(),
        None => panic!(
            "NATS_SERVER is not set: run `cargo xtask test`, or set it to a nats-server of 2.11 or newer"
        ),
    }
}
