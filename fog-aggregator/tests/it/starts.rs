//! What can be wrong at the start: what ends the process, and what it waits for.

use std::net::TcpListener;

use fl_model::{Phase, Role};
use fl_runtime::testing::{JETSTREAM, NatsProcess, free_port, until};
use fl_wire::SigningKey;
use fl_wire::topics::Broadcast;

use crate::device::Device;
use crate::fog::{Fog, output};
use crate::root::{Root, enrolled, key, root_key};

const NEVER_MS: u32 = 600_000;

#[tokio::test]
async fn a_port_in_use_ends_it_with_the_setting_to_change() {
    let mut fog = Fog::new(&root_key(), "nats://127.0.0.1:1");
    let _taken = TcpListener::bind(("127.0.0.1", fog.port)).unwrap();
    fog.start();
    assert!(!fog.ended().await.success());
    fog.logged(&[
        "error",
        &fog.port.to_string(),
        "in use",
        "embedded_broker.listen",
    ])
    .await;
}

#[tokio::test]
async fn an_address_that_others_reach_wants_protection() {
    let mut fog = Fog::new(&root_key(), "nats://127.0.0.1:1");
    let listen = format!("listen = \"127.0.0.1:{}\"", fog.port);
    fog.set("embedded_broker", &listen, "listen = \"0.0.0.0:0\"");
    fog.start();
    assert!(!fog.ended().await.success());
    fog.logged(&["error", "0.0.0.0", "cert_file"]).await;
}

#[tokio::test]
async fn wrong_settings_and_keys_end_it_by_name() {
    let check = async |spoil: &dyn Fn(&Fog), parts: &[&str]| {
        let mut fog = Fog::new(&root_key(), "nats://127.0.0.1:1");
        spoil(&fog);
        fog.start();
        assert!(!fog.ended().await.success());
        fog.logged(parts).await;
    };
    check(
        &|fog| fog.set("rounds", "grace_ms", "grase_ms"),
        &["rounds.grase_ms", "rounds.grace_ms"],
    )
    .await;
    check(
        &|fog| fog.set("", "region = \"north\"", "region = \"a/b\""),
        &["region", "a/b"],
    )
    .await;
    check(
        &|fog| fog.set("nats", "nats://127.0.0.1:1", "http://h"),
        &["nats.url"],
    )
    .await;
    check(
        &|fog| std::fs::remove_file(fog.home().join("key")).unwrap(),
        &["key", "init"],
    )
    .await;
    check(
        &|fog| std::fs::write(fog.home().join("state.json"), "{").unwrap(),
        &["state.json", "damaged"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_away_at_the_start_is_waited_for() {
    let mut nats = NatsProcess::new(JETSTREAM);
    let mut fog = Fog::new(&root_key(), &nats.url());
    fog.start();
    fog.logged(&["nats at", "is away, retrying"]).await;
    nats.start();
    let root = Root::new(nats.connect().await).await;
    root.enrol(&fog, &["edge-01"]).await;
    let mut device = Device::connect(&fog, "edge-01").await;
    let evaluate = key(1, Phase::Evaluate);
    root.open(&evaluate, NEVER_MS).await;
    device.contribute(&evaluate).await;
    assert_eq!(root.partial(&evaluate, &fog).await.0.contributors.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_home_has_one_gateway() {
    let mut fog = Fog::new(&root_key(), "nats://127.0.0.1:1");
    fog.start();
    fog.logged(&["retrying"]).await;
    let home = fog.home();
    let second = output(&["run", "--home", home.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && said.contains("in use by another process"),
        "{said}"
    );
    assert!(fog.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_root_signed_is_not_followed() {
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    let forger = Root::new(nats.connect().await).await.forging();
    forger.enrol(&fog, &["edge-01"]).await;
    fog.start();
    fog.logged(&["roster entry 1", "root.public_key"]).await;
    root.enrol(&fog, &["edge-01"]).await;
    let mut device = Device::connect(&fog, "edge-01").await;
    let evaluate = key(1, Phase::Evaluate);
    forger.open(&evaluate, NEVER_MS).await;
    fog.logged(&["plan of job air", "root.public_key"]).await;
    assert!(fog.status().unwrap().round.is_none());
    root.open(&evaluate, NEVER_MS).await;
    device.contribute(&evaluate).await;
    let (_, digest) = root.partial(&evaluate, &fog).await;
    forger.settle(&evaluate, Some(digest)).await;
    fog.logged(&["record of air/1/evaluate", "not believed"])
        .await;
    let kept = || async { fog.status().filter(|status| status.outbox.partials == 1) };
    until("the partial to be kept", kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_outside_of_the_roster_says_how_to_enrol_it() {
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    let other = SigningKey::from_bytes(&[3; 32]).verifying_key();
    root.roster(&[("fog-north".into(), Role::Fog, other)]).await;
    let evaluate = key(1, Phase::Evaluate);
    root.open(&evaluate, NEVER_MS).await;
    fog.start();
    fog.logged(&[
        "another key for fog-north",
        "cloud-root roster add fog-north",
    ])
    .await;
    fog.logged(&["air/1/evaluate", "waits for the roster"])
        .await;
    root.enrol(&fog, &["edge-01"]).await;
    let mut device = Device::connect(&fog, "edge-01").await;
    device
        .broadcast(Broadcast::Plan(evaluate.job.clone()))
        .await;
    device.contribute(&evaluate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_whose_sums_could_overflow_is_not_followed() {
    let (_nats, root, fog) = enrolled(&["edge-01"]).await;
    let train = key(1, Phase::Train);
    let mut plan = root.plan(&train, NEVER_MS).await;
    plan.contributions_max = u32::MAX;
    root.publish(&plan).await;
    fog.logged(&["air/1/train", "4294967295 contributions"])
        .await;
    let other_epoch = fl_model::RoundPlan {
        epoch: fl_model::Epoch(5),
        ..root.plan(&train, NEVER_MS).await
    };
    root.publish(&other_epoch).await;
    let follows = || async { fog.status().filter(|status| status.epoch == 5) };
    until("the newer root to be followed", follows).await;
    root.open(&key(2, Phase::Train), NEVER_MS).await;
    fog.logged(&["air/2/train", "older epoch than 5", "state.json"])
        .await;
}

#[tokio::test]
async fn a_broker_elsewhere_is_waited_for() {
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    root.enrol(&fog, &[]).await;
    fog.set("broker", "#: [broker]", "[broker]");
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", free_port());
    fog.set("broker", "#: url = \"mqtts://broker.example:8883\"", &url);
    fog.start();
    fog.logged(&["mqtt broker at", "is away, retrying"]).await;
    let status = until("the status", || async { fog.status() }).await;
    assert!(!status.broker.connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_bus_is_not_healthy() {
    let mut nats = NatsProcess::running(JETSTREAM);
    let mut fog = Fog::new(&root_key(), &nats.url());
    let home = fog.home();
    let asked = || output(&["health", "--home", home.to_str().unwrap()]);
    let said = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    assert!(!asked().status.success(), "nothing runs yet");
    fog.start();
    let well = || async { asked().status.success().then_some(()) };
    until("the gateway to be healthy", well).await;
    nats.kill();
    let ill = || async { Some(asked()).filter(|asked| !asked.status.success()) };
    let ill = until("the gateway to notice", ill).await;
    let said = said(&ill.stderr);
    assert!(said.contains("nats is away"), "{said}");
    nats.start();
    until("the gateway to be healthy again", well).await;
    assert!(fog.stop().await.success());
}
