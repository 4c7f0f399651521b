//! A gateway whose region speaks over Mosquitto.
//!
//! Mosquitto is a package of the system, which the project cannot fetch without root: where it is
//! missing this test says that it did not run.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fl_model::{Outcome, Phase};
use fl_runtime::testing::{JETSTREAM, NatsProcess, free_port};
use fl_wire::topics::Broadcast;

use crate::device::Device;
use crate::fog::Fog;
use crate::root::{Root, key, root_key};

const NEVER_MS: u32 = 600_000;

/// Where Debian puts the server, which is not on every user's PATH.
const SYSTEM_FOLDER: &str = "/usr/sbin";

struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    fn new(port: u16) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port,
            child: None,
        }
    }

    fn start(&mut self, binary: &PathBuf) {
        let acl = self.folder.path().join("acl");
        let rules = "user fog-north\ntopic readwrite fl/1/north/#\n\
                     pattern write fl/1/north/d/%u/up/#\npattern write fl/1/north/d/%u/presence\n\
                     pattern read fl/1/north/d/%u/dn/#\npattern read fl/1/north/bcast/#\n";
        std::fs::write(&acl, rules).unwrap();
        let config = self.folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\n",
            self.port,
            acl.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(binary)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that `MOSQUITTO` names, PATH holds, or Debian keeps.
fn find() -> Option<PathBuf> {
    let named = std::env::var_os("MOSQUITTO").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(SYSTEM_FOLDER.into());
    let mut installed = folders.into_iter().map(|folder| folder.join("mosquitto"));
    let found = named.or_else(|| installed.find(|candidate| candidate.is_file()));
    if found.is_none() {
        // Past the test harness, which would swallow it: nobody shall take this for a pass.
        let line = b"NOT RUN: no mosquitto here: install it, or set MOSQUITTO\n";
        let _ = std::io::stderr().lock().write_all(line);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_speaks_over_mosquitto_and_outlives_its_kill() {
    let Some(binary) = find() else {
        return;
    };
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    root.enrol(&fog, &["edge-01", "edge-02"]).await;
    fog.port = free_port();
    fog.set("broker", "#: [broker]", "[broker]");
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", fog.port);
    fog.set("broker", "#: url = \"mqtts://broker.example:8883\"", &url);
    let mut mosquitto = Mosquitto::new(fog.port);
    fog.start();
    fog.logged(&["mqtt broker at", "is away, retrying"]).await;
    mosquitto.start(&binary);
    let mut one = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(train.job.clone())).await;
    one.contribute(&train).await;

    mosquitto.kill();
    drop(one);
    mosquitto.start(&binary);
    // The plan was retained by a broker that has forgotten it: it is said again.
    let mut two = Device::connect(&fog, "edge-02").await;
    two.broadcast(Broadcast::Plan(train.job.clone())).await;
    two.contribute(&train).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    // The record's notice goes to whoever is there: once the fog has answered, it is.
    one.hello(std::slice::from_ref(&train)).await;
    while one.welcome().await.answers.is_empty() {}
    let (partial, digest) = root.partial(&train, &fog).await;
    assert_eq!(partial.contributors.len(), 2);
    root.settle(&train, Some(digest)).await;
    assert_eq!(one.settled().await.outcome, Outcome::Counted);
}
