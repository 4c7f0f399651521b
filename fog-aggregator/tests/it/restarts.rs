//! Kills: of the gateway at its worst moments, and of nats-server.

use std::collections::BTreeSet;

use fl_model::{Outcome, Phase, Sum};
use fl_runtime::testing::until;
use fl_telemetry::{RoundContext, Unit};
use fl_wire::topics::{Broadcast, Up};

use crate::device::Device;
use crate::root::{enrolled, key};

const NEVER_MS: u32 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_mid_round_goes_on_with_what_it_has_receipted() {
    let (_nats, root, mut fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let two = Device::connect(&fog, "edge-02").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.contribute(&train).await;
    fog.kill();
    drop((one, two));

    fog.start();
    let mut one = Device::arrive(&fog, "edge-01").await;
    one.broadcast(Broadcast::Fog).await;
    one.hello(std::slice::from_ref(&train)).await;
    let welcome = one.welcome().await;
    let kept = (one.contribution_key(&train), fl_wire::Answer::Admitted);
    assert_eq!(welcome.answers, [kept]);
    // Sent again all the same, it does not count twice.
    one.contribute(&train).await;
    let mut two = Device::connect(&fog, "edge-02").await;
    two.contribute(&train).await;
    let (partial, digest) = root.partial(&train, &fog).await;
    let Sum::Update(sum) = &partial.sum else {
        panic!("{:?}", partial.sum);
    };
    assert_eq!((sum.updates, sum.weight), (2, 20));
    root.settle(&train, Some(digest)).await;
    assert_eq!(two.settled().await.outcome, Outcome::Counted);

    let context = RoundContext::new("air", 1, 0);
    let expected = [
        Unit::Device("edge-01"),
        Unit::Device("edge-02"),
        Unit::Admit("edge-01"),
        Unit::Recover("north", 0),
        Unit::Close("north"),
        Unit::PublishPartial("north"),
        Unit::Broadcast("north"),
    ];
    let told = || async {
        let spans = fog.spans();
        let ids: BTreeSet<&str> = spans
            .iter()
            .filter_map(|span| span["spanId"].as_str())
            .collect();
        let all = expected
            .iter()
            .all(|unit| ids.contains(context.span_id(unit).to_string().as_str()));
        all.then(|| spans.clone())
    };
    let spans = until("the spans of the round", told).await;
    let region = context.span_id(&Unit::Region("north")).to_string();
    let of = |unit: Unit<'_>| {
        let id = context.span_id(&unit).to_string();
        spans
            .iter()
            .find(|span| span["spanId"] == id.as_str())
            .unwrap()
    };
    assert_eq!(
        of(Unit::Recover("north", 0))["parentSpanId"],
        region.as_str()
    );
    assert_eq!(of(Unit::Device("edge-01"))["parentSpanId"], region.as_str());
    // The device's row began before the kill, and so before the recovery was over.
    let start = |unit| {
        of(unit)["startTimeUnixNano"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(start(Unit::Device("edge-01")) < start(Unit::Recover("north", 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_with_a_partial_in_its_outbox_sends_it_once() {
    let (mut nats, root, mut fog) = enrolled(&["edge-01"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(train.job.clone())).await;
    nats.kill();
    one.contribute(&train).await;
    let closed = || async { fog.status().filter(|status| status.outbox.partials == 1) };
    until("the partial to be stored", closed).await;
    fog.kill();
    nats.start();
    fog.start();
    let (partial, digest) = root.partial(&train, &fog).await;
    assert_eq!(partial.contributors.len(), 1);
    fog.kill();
    fog.start();
    root.settle(&train, Some(digest)).await;
    let emptied = || async { fog.status().filter(|status| status.outbox.partials == 0) };
    until("the outbox to be empty", emptied).await;
    let mut one = Device::arrive(&fog, "edge-01").await;
    one.broadcast(Broadcast::Fog).await;
    one.hello(std::slice::from_ref(&train)).await;
    let settled = fl_wire::Answer::Settled(Outcome::Counted);
    let answers = one.welcome().await.answers;
    assert_eq!(answers, [(one.contribution_key(&train), settled)]);
    assert_eq!(root.partials(&train).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_away_in_the_middle_of_a_round_loses_nothing() {
    let (mut nats, root, fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let mut two = Device::connect(&fog, "edge-02").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.contribute(&train).await;
    nats.kill();
    fog.logged(&["nats at", "is away, retrying"]).await;
    two.contribute(&train).await;
    fog.logged(&["air/1/train", "not in the stream yet"]).await;
    nats.start();
    let (partial, digest) = root.partial(&train, &fog).await;
    assert_eq!(partial.contributors.len(), 2);
    root.settle(&train, Some(digest)).await;
    assert_eq!(one.settled().await.outcome, Outcome::Counted);

    let next = key(1, Phase::Evaluate);
    root.open(&next, NEVER_MS).await;
    // A contribution to a phase that no plan has opened yet is stale.
    fog.logged(&["following air/1/evaluate"]).await;
    one.contribute(&next).await;
    two.contribute(&next).await;
    assert_eq!(root.partial(&next, &fog).await.0.contributors.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_set_aside_and_devices_send_again() {
    let (_nats, root, mut fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.contribute(&train).await;
    fog.kill();
    drop(one);
    let snapshot = fog.home().join("snapshot");
    let mut bytes = std::fs::read(&snapshot).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    fog.start();
    fog.logged(&["snapshot", "damaged", "send again"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    one.contribute(&train).await;
    let mut two = Device::connect(&fog, "edge-02").await;
    two.contribute(&train).await;
    assert_eq!(root.partial(&train, &fog).await.0.contributors.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_disk_takes_nothing_can_be_ended() {
    let (_nats, root, mut fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    // A folder that is not empty cannot be replaced by a file.
    let in_the_way = fog.home().join("snapshot");
    std::fs::create_dir_all(in_the_way.join("something")).unwrap();
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(train.job.clone())).await;
    let signed = one.contribution(&train);
    one.up(Up::Contribution, &signed).await;
    fog.logged(&["trying again until it works"]).await;
    assert!(fog.stop().await.success());

    std::fs::remove_dir_all(&in_the_way).unwrap();
    fog.start();
    let mut one = Device::connect(&fog, "edge-01").await;
    one.contribute(&train).await;
}
