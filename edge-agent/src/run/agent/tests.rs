//! The loop beside a bench that is at work.

use std::path::Path;
use std::time::Duration;

use fl_model::{DeviceId, RegionId};
use fl_runtime::mqtt::{Message, MqttServer, MqttSettings, open};
use fl_runtime::store::ObjectCache;
use fl_wire::SigningKey;

use super::*;
use crate::run::downloads::Objects;
use crate::run::rows::{RoundRows, Source};
use crate::run::sample;

/// Within which what does not wait for a disk is done.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent at `home`, whose data file is `file` and whose broker is away.
fn agent(home: &Path, file: &Path) -> Agent {
    let key = SigningKey::from_bytes(&[7; 32]);
    let root_key = key.verifying_key();
    let identity = Arc::new(Identity {
        device: DeviceId::new("edge-01").unwrap(),
        region: RegionId::new("north").unwrap(),
        key,
    });
    let settings = MqttSettings {
        url: "mqtt://127.0.0.1:1".to_owned(),
        user: None,
        password: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        keep_alive_s: 15,
    };
    let server = MqttServer::new(&settings, home).unwrap();
    let (session, _) = open(server, identity.session_options());
    let ledger = Arc::new(Mutex::new(Ledger::open(home, 1 << 20).unwrap()));
    let rows = RoundRows::new(Source::File(file.to_owned()), None, home);
    let cache = ObjectCache::open(&home.join("objects"), 1 << 20).unwrap();
    let timing = TimingSettings::default();
    Agent::new(Parts {
        uplink: Uplink::start(&session, &identity),
        downloads: Downloads::new(cache, 1 << 20, timing.want_ms),
        worker: Arc::new(Worker::new(identity.clone(), ledger.clone(), rows)),
        results: mpsc::channel(1).0,
        clock: Clock::start(),
        runtime: String::new(),
        state_file: home.join("state.json"),
        identity,
        root_key,
        ledger,
        timing,
    })
}

/// A phase over rows that the plan's job cannot take.
fn task() -> Task {
    Task {
        plan: Box::new(sample::plan(b"", b"")),
        objects: Objects {
            model: Arc::default(),
            parameters: Arc::default(),
        },
        cancelled: Arc::default(),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_job_does_not_wait_for_the_rows_of_a_task() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("data.csv");
    sample::slow_file(&file);
    let mut agent = agent(home.path(), &file);
    let worker = agent.parts.worker.clone();
    let task = task();
    let job = task.plan.key.job.clone();
    let working = std::thread::spawn(move || worker.perform(&task));
    while !home.path().join("snapshot.part").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cleared = Message {
        topic: format!("fl/1/north/bcast/plan/{job}"),
        payload: Default::default(),
        retain: false,
        user_properties: Vec::new(),
    };
    let taken = tokio::spawn(async move {
        agent.on_message(&cleared).unwrap();
        agent
    });
    let taken = tokio::time::timeout(PATIENCE, taken).await;
    let done = sample::fed(&file, || {}, || working.join().unwrap());
    let agent = taken.expect("the loop goes on").unwrap();
    assert!(matches!(done, Done::Failed(..)), "{done:?}");
    agent.parts.worker.job_over(&job);
    assert!(!home.path().join("snapshot").exists());
}
