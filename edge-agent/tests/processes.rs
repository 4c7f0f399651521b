//! The agent as a process, against a real broker.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use edge_agent::init::{NewHome, init};
use fl_model::{
    DataSpec, DeviceId, Epoch, Feature, FeatureSpec, JobId, Label, MemberId, ObjectRef, Phase,
    ROOT_NAME, RegionId, RoundKey, RoundNumber, RoundPlan, Split, TraceContext, Work,
};
use fl_runtime::broker::{Broker, BrokerSettings};
use fl_runtime::keys::public_hex;
use fl_runtime::mqtt::{Event, SessionOptions, open};
use fl_wire::topics::{Broadcast, Place, Topic, Up, fog_subscriptions};
use fl_wire::{Envelope, Header, Hello, MessageKind, SigningKey, seal};
use tempfile::TempDir;

/// Generous: only a hang reaches it.
const BOUND: Duration = Duration::from_secs(90);

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-agent");

fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn device() -> DeviceId {
    DeviceId::new("edge-01").unwrap()
}

fn region() -> RegionId {
    RegionId::new("north").unwrap()
}

fn home(broker: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let new = NewHome {
        folder: folder.path().join("edge home"),
        device: device(),
        region: region(),
        root_key: public_hex(&root().verifying_key()),
        broker: broker.to_owned(),
        data: "data.csv".into(),
        train_rows: None,
        test_rows: None,
    };
    init(&new).unwrap();
    folder
}

fn command(verb: &str, home: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg(verb)
        .arg("--home")
        .arg(home)
        .stdin(Stdio::piped());
    command
}

/// A running agent and what it says.
struct Agent {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Agent {
    fn start(home: &Path) -> Self {
        let mut child = command("run", home)
            .env("FL_EXIT_WITH_STDIN", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    fn wait_for(&mut self, part: &str) {
        let until = Instant::now() + BOUND;
        while !self.said.iter().any(|line| line.contains(part)) {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("no line with {part:?} in {:#?}", self.said),
            }
        }
    }

    /// Closes its standard input and waits for its end.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + BOUND;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.said);
            thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn broker_settings(port: u16) -> BrokerSettings {
    BrokerSettings {
        listen: format!("127.0.0.1:{port}"),
        ..BrokerSettings::default()
    }
}

#[test]
fn what_it_cannot_do_without_ends_it_with_a_remedy() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    let run = |home: &Path| command("run", home).output().unwrap();
    failed(
        &run(&folder.path().join("none")),
        &["none/edge-agent.toml", "init"],
    );
    let without = command("run", &home)
        .env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so")
        .output()
        .unwrap();
    failed(
        &without,
        &["/nonexistent/libonnxruntime.so", "ORT_DYLIB_PATH"],
    );
    let wrong = command("run", &home)
        .env("FL_EDGE__BROKER__URL", "http://fog")
        .output()
        .unwrap();
    failed(&wrong, &["broker.url", "mqtt://"]);
    let unknown = command("run", &home)
        .env("FL_EDGE__BROKER__URLL", "x")
        .output()
        .unwrap();
    failed(&unknown, &["FL_EDGE__BROKER__URLL", "broker.url"]);
    std::fs::remove_file(home.join("key")).unwrap();
    failed(&run(&home), &["key", "init"]);
}

#[test]
fn check_gives_a_verdict_a_line_and_fails_where_run_would() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    let output = command("check", &home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    for part in [
        "ok    settings",
        "ok    key",
        "ok    runtime",
        "FAIL  data",
        "FAIL  broker",
        "mqtt://127.0.0.1:1",
        "ok    clock",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let port = free_port();
    let folder = home(&format!("mqtt://127.0.0.1:{port}"));
    let home = folder.path().join("edge home");
    let mut agent = Agent::start(&home);
    agent.wait_for("is away, retrying");
    agent.wait_for("data.csv does not exist yet");
    failed(
        &command("run", &home).output().unwrap(),
        &["in use by another process"],
    );

    let broker_folder = tempfile::tempdir().unwrap();
    let settings = broker_settings(port);
    let broker = Broker::start(&settings, &region(), broker_folder.path())
        .await
        .unwrap();
    agent.wait_for("connected to the mqtt broker");
    broker.stop().await;
    let again = Broker::start(&settings, &region(), broker_folder.path())
        .await
        .unwrap();
    let lines = agent.said.len();
    agent.said.truncate(0);
    agent.wait_for("connected to the mqtt broker");
    assert!(lines > 0);
    agent.end();
    again.stop().await;
}

fn plan(key: &SigningKey) -> Vec<u8> {
    let plan = RoundPlan {
        key: RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(0),
            phase: Phase::Statistics,
        },
        epoch: Epoch(1),
        model: ObjectRef::to(b"model"),
        parameters: ObjectRef::to(b"parameters"),
        data: DataSpec {
            inputs: FeatureSpec {
                features: vec![Feature::Numeric {
                    column: "x".to_owned(),
                }],
                clip: 5.0,
            },
            label: Label::Value {
                column: "y".to_owned(),
            },
            time_column: None,
            split: Split::Tail { test_fraction: 0.5 },
        },
        work: Work::Statistics,
        quorum: 1,
        contributions_max: 1,
        deadline_ms: 1_000,
        trace: TraceContext::default(),
    };
    let header = Header::new(MessageKind::Plan, &MemberId::new(ROOT_NAME).unwrap())
        .in_round(&plan.key)
        .under(plan.epoch);
    seal(&header, &plan, key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pinned_root_is_followed_and_every_word_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&broker_settings(0), &region(), folder.path())
        .await
        .unwrap();
    let options = SessionOptions {
        client_id: broker.own_client_id().to_owned(),
        subscriptions: fog_subscriptions(&region()).to_vec(),
        presence: None,
    };
    let (session, mut events) = open(broker.own_server(), options);
    let home = home(&format!("mqtt://{}", broker.address()));
    let mut agent = Agent::start(&home.path().join("edge home"));

    let key = fl_runtime::keys::load(&home.path().join("edge home/key")).unwrap();
    let mut heard = async |wanted: Up| loop {
        let event = tokio::time::timeout(BOUND, events.next()).await;
        if let Some(Event::Message(message)) = event.unwrap() {
            let topic: Topic = message.topic.parse().unwrap();
            if topic.place == Place::Up(device(), wanted) {
                let envelope = Envelope::parse(&message.payload, message.payload.len()).unwrap();
                break envelope.verify(&key.verifying_key()).unwrap();
            }
        }
    };
    let hello: Hello = heard(Up::Hello).await.open().unwrap();
    assert_eq!(hello.outstanding, []);
    heard(Up::Beat).await;

    let topic = Topic::broadcast(&region(), Broadcast::Plan(JobId::new("air").unwrap()));
    let stranger = plan(&SigningKey::from_bytes(&[9; 32]));
    session
        .publish(&topic.to_string(), stranger, true, Vec::new())
        .await
        .unwrap();
    agent.wait_for("root.public_key");
    // A plan of our root is followed: its objects are asked for.
    session
        .publish(&topic.to_string(), plan(&root()), true, Vec::new())
        .await
        .unwrap();
    heard(Up::Want).await;
    agent.end();
    session.close().await;
    broker.stop().await;
}
