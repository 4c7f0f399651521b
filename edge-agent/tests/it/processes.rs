//! The agent as a process, against a real broker.

use std::path::Path;

use fl_model::{
    DataSpec, Digest, Epoch, Feature, FeatureSpec, JobId, Label, MemberId, ObjectRef, Phase,
    ROOT_NAME, Reason, RoundKey, RoundNumber, RoundPlan, Split, TraceContext, Work,
};
use fl_runtime::broker::Broker;
use fl_runtime::mqtt::{Event, Events, Session, SessionOptions, open};
use fl_runtime::testing::{LIMIT, assert_refused, free_port, output_to_nobody};
use fl_wire::topics::{Broadcast, Place, Topic, Up, fog_subscriptions};
use fl_wire::{Decline, Envelope, Header, Hello, MessageKind, SigningKey, seal};
use tempfile::TempDir;

use crate::common::{broker_settings, command, device, home, region, root, start};

#[test]
fn what_it_cannot_do_without_ends_it_with_a_remedy() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    let run = |home: &Path| command("run", home).output().unwrap();
    assert_refused(
        &run(&folder.path().join("none")),
        &["none/edge-agent.toml", "init"],
    );
    let without = command("run", &home)
        .env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so")
        .output()
        .unwrap();
    assert_refused(
        &without,
        &["/nonexistent/libonnxruntime.so", "ORT_DYLIB_PATH"],
    );
    let wrong = command("run", &home)
        .env("FL_EDGE__BROKER__URL", "http://fog")
        .output()
        .unwrap();
    assert_refused(&wrong, &["broker.url", "mqtt://"]);
    let unknown = command("run", &home)
        .env("FL_EDGE__BROKER__URLL", "x")
        .output()
        .unwrap();
    assert_refused(&unknown, &["FL_EDGE__BROKER__URLL", "broker.url"]);
    std::fs::remove_file(home.join("key")).unwrap();
    assert_refused(&run(&home), &["key", "init"]);
}

#[test]
fn nobody_has_to_read_what_it_says() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    // Its verdict stands in the status all the same.
    let output = output_to_nobody(command("check", &home));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut agent = command("run", &home);
    let agent = agent.env("FL_EXIT_WITH_STDIN", "1").stderr(writer);
    let output = agent.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let port = free_port();
    let folder = home(&format!("mqtt://127.0.0.1:{port}"));
    let home = folder.path().join("edge home");
    let mut agent = start(&home);
    agent.logged(&["is away, retrying"]).await;
    agent.logged(&["data.csv does not exist yet"]).await;
    assert_refused(
        &command("run", &home).output().unwrap(),
        &["in use by another process"],
    );

    let broker_folder = tempfile::tempdir().unwrap();
    let settings = broker_settings(port);
    let broker = Broker::start(&settings, &region(), broker_folder.path())
        .await
        .unwrap();
    agent.logged(&["connected to the mqtt broker"]).await;
    broker.stop().await;
    let said = agent.log().len();
    let again = Broker::start(&settings, &region(), broker_folder.path())
        .await
        .unwrap();
    agent
        .logged_after(said, &["connected to the mqtt broker"])
        .await;
    assert!(agent.stop().await.success());
    again.stop().await;
}

/// A region's broker and the session of its fog, which is connected.
pub(crate) async fn fog() -> (TempDir, Broker, Session, Events) {
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
    while !matches!(events.next().await, Some(Event::Connected)) {}
    (folder, broker, session, events)
}

/// The objects of [`plan`], which a statistics phase does not read.
pub(crate) const MODEL: &[u8] = b"model";
pub(crate) const PARAMETERS: &[u8] = b"parameters";

/// The plan of a statistics phase, signed with that key.
pub(crate) fn plan(key: &SigningKey) -> Vec<u8> {
    let plan = RoundPlan {
        key: RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(0),
            phase: Phase::Statistics,
        },
        epoch: Epoch(1),
        model: ObjectRef::to(MODEL),
        options: fl_model::ModelOptions::PLAIN,
        draw: None,
        parameters: ObjectRef::to(PARAMETERS),
        data: DataSpec {
            inputs: FeatureSpec {
                features: vec![Feature::Numeric {
                    column: "x".to_owned(),
                }],
                clip: 5.0,
            }
            .into(),
            label: Label::Value {
                column: "y".to_owned(),
            },
            split: Split::Tail { test_fraction: 0.5 },
        },
        work: Work::Statistics,
        quorum: 1,
        contributions_max: 1,
        deadline_ms: 1_000,
        trace: TraceContext::default(),
        region_contributions_max: 1,
    };
    let header = Header::new(MessageKind::Plan, &MemberId::new(ROOT_NAME).unwrap())
        .in_round(&plan.key)
        .under(plan.epoch);
    seal(&header, &plan, key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pinned_root_is_followed_and_every_word_is_signed() {
    let (_folder, broker, session, mut events) = fog().await;
    let home = home(&format!("mqtt://{}", broker.address()));
    let mut agent = start(&home.path().join("edge home"));

    let key = fl_runtime::keys::load(&home.path().join("edge home/key")).unwrap();
    let mut heard = async |wanted: Up| loop {
        let event = tokio::time::timeout(LIMIT, events.next()).await;
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
    agent.logged(&["root.public_key"]).await;
    // A plan of our root is followed: its objects are asked for.
    session
        .publish(&topic.to_string(), plan(&root()), true, Vec::new())
        .await
        .unwrap();
    heard(Up::Want).await;
    assert!(agent.stop().await.success());
    session.close().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_of_a_row_leaves_the_device() {
    const CELL: &str = "Jane Doe";
    let (_folder, broker, session, mut events) = fog().await;
    let topic = Topic::broadcast(&region(), Broadcast::Plan(JobId::new("air").unwrap()));
    session
        .publish(&topic.to_string(), plan(&root()), true, Vec::new())
        .await
        .unwrap();
    let new = home(&format!("mqtt://{}", broker.address()));
    let home = new.path().join("edge home");
    std::fs::write(home.join("data.csv"), format!("x,y\n1,2\n{CELL},3\n")).unwrap();
    // The plan's objects were fetched before.
    let objects = home.join("objects");
    std::fs::create_dir(&objects).unwrap();
    for bytes in [&b"model"[..], b"parameters"] {
        std::fs::write(objects.join(Digest::of(bytes).to_string()), bytes).unwrap();
    }
    let mut agent = start(&home);
    // The device's own log says it all.
    agent.logged(&["declined", CELL, "line 3"]).await;

    let declined = loop {
        let event = tokio::time::timeout(LIMIT, events.next()).await;
        let Some(Event::Message(message)) = event.unwrap() else {
            continue;
        };
        let said = String::from_utf8_lossy(&message.payload);
        assert!(!said.contains(CELL), "{}: {said}", message.topic);
        let topic: Topic = message.topic.parse().unwrap();
        if topic.place == Place::Up(device(), Up::Decline) {
            break Envelope::parse(&message.payload, message.payload.len()).unwrap();
        }
    };
    let key = fl_runtime::keys::load(&home.join("key")).unwrap();
    let declined = declined.verify(&key.verifying_key()).unwrap();
    let declined: Decline = declined.open().unwrap();
    assert_eq!(declined.reason, Reason::DataUnusable);
    for part in ["data.csv", "line 3", "\"x\"", "not a number"] {
        assert!(
            declined.detail.contains(part),
            "{part:?} in {}",
            declined.detail
        );
    }
    assert!(agent.stop().await.success());
    session.close().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_an_older_epoch_is_refused_with_a_remedy() {
    let (_folder, broker, session, _events) = fog().await;
    let topic = Topic::broadcast(&region(), Broadcast::Plan(JobId::new("air").unwrap()));
    session
        .publish(&topic.to_string(), plan(&root()), true, Vec::new())
        .await
        .unwrap();
    let new = home(&format!("mqtt://{}", broker.address()));
    let home = new.path().join("edge home");
    std::fs::write(home.join("state.json"), r#"{"epoch": 5}"#).unwrap();
    let mut agent = start(&home);
    let parts = ["older epoch than 5", "NATS", "edge home/state.json"];
    agent.logged(&parts).await;
    assert!(agent.stop().await.success());
    session.close().await;
    broker.stop().await;
}
