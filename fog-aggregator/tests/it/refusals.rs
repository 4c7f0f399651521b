//! Updates that are not taken: each with a reason in the log, the metrics, the trace and the receipt.

use fl_model::{Admission, Phase, Reason};
use fl_runtime::testing::{NatsProcess, until};
use fl_wire::topics::{Broadcast, Topic, Up};
use fl_wire::{MessageKind, SigningKey, seal};

use crate::device::{Device, device_key, update};
use crate::fog::Fog;
use crate::root::{COORDINATES, Root, WEIGHT_MAX, enrolled, key, region};

const NEVER_MS: u32 = 600_000;

struct Scene {
    _nats: NatsProcess,
    root: Root,
    fog: Fog,
    honest: Device,
    attacker: Device,
}

/// A train phase with two devices, one of which does not play by the rules.
async fn scene() -> Scene {
    let (nats, root, fog) = enrolled(&["honest", "attacker"]).await;
    let mut honest = Device::connect(&fog, "honest").await;
    let attacker = Device::connect(&fog, "attacker").await;
    let train = key(2, Phase::Train);
    root.open(&train, NEVER_MS).await;
    honest.broadcast(Broadcast::Plan(train.job)).await;
    Scene {
        _nats: nats,
        root,
        fog,
        honest,
        attacker,
    }
}

impl Scene {
    /// The attacker's bytes are rejected for `reason`, and the log says so.
    async fn check(&mut self, bytes: &[u8], reason: Reason) {
        let receipt = self.attacker.deliver(bytes).await;
        assert_eq!(receipt.admission, Admission::Rejected(reason));
        self.fog.logged(&["rejected", reason.as_str()]).await;
        let metrics = self.fog.metrics().await;
        let counted = format!("reason=\"{reason}\"");
        assert!(metrics.contains(&counted), "{counted} in\n{metrics}");
    }

    /// The honest device alone makes up the sum, and the trace names the attacker's reason.
    async fn finish(mut self, reason: Reason) {
        let train = key(2, Phase::Train);
        self.honest.contribute(&train).await;
        self.attacker.cut();
        let (partial, digest) = self.root.partial(&train, &self.fog).await;
        assert_eq!(partial.contributors, [self.honest.name.clone()]);
        self.root.settle(&train, Some(digest)).await;
        let told = || async {
            let spans = self.fog.spans();
            spans
                .iter()
                .any(|span| span.to_string().contains(reason.as_str()))
                .then_some(())
        };
        until("the trace", told).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message() {
    let mut scene = scene().await;
    let train = key(2, Phase::Train);
    scene.check(b"garbage", Reason::Malformed).await;
    let good = scene.attacker.contribution(&train);
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    scene.check(&cut, Reason::Malformed).await;
    let mut damaged = good;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    scene.check(&damaged, Reason::BadSignature).await;
    scene.finish(Reason::BadSignature).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_beyond_the_plan() {
    let mut scene = scene().await;
    let train = key(2, Phase::Train);
    let heavy = update(WEIGHT_MAX + 1, vec![1; COORDINATES]);
    let heavy = scene.attacker.signed(&train, heavy);
    scene.check(&heavy, Reason::OverWeight).await;
    // Who was refused by its own fault stays out, whatever it sends next.
    let good = scene.attacker.contribution(&train);
    scene.check(&good, Reason::OverWeight).await;
    scene.finish(Reason::OverWeight).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_that_are_not_finite() {
    let mut scene = scene().await;
    // Infinity, cast to an integer: beyond what ±(2^31 − 1) can mean, and a loss beyond any sum.
    let mut wild = update(10, vec![i32::MIN; COORDINATES]);
    if let fl_model::Payload::Update { metrics, .. } = &mut wild {
        metrics.loss = i128::MAX;
    }
    let wild = scene.attacker.signed(&key(2, Phase::Train), wild);
    scene.check(&wild, Reason::NotFinite).await;
    scene.finish(Reason::NotFinite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_of_another_shape() {
    let mut scene = scene().await;
    let wrong = update(10, vec![1; COORDINATES - 1]);
    let wrong = scene.attacker.signed(&key(2, Phase::Train), wrong);
    scene.check(&wrong, Reason::WrongShape).await;
    scene.finish(Reason::WrongShape).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_than_the_plan_implies() {
    let mut scene = scene().await;
    let large = update(10, vec![i32::MAX; 10_000]);
    let large = scene.attacker.signed(&key(2, Phase::Train), large);
    scene.check(&large, Reason::Oversized).await;
    scene.finish(Reason::Oversized).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_another_round_or_phase() {
    let mut scene = scene().await;
    let old = scene.attacker.contribution(&key(1, Phase::Train));
    scene.check(&old, Reason::Stale).await;
    let other_phase = scene.attacker.contribution(&key(1, Phase::Evaluate));
    scene.check(&other_phase, Reason::Stale).await;
    scene.finish(Reason::Stale).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_contribution_with_other_bytes() {
    let mut scene = scene().await;
    let train = key(2, Phase::Train);
    scene.attacker.contribute(&train).await;
    scene.attacker.contribute(&train).await;
    let other = scene
        .attacker
        .signed(&train, update(11, vec![1; COORDINATES]));
    let receipt = scene.attacker.deliver(&other).await;
    assert_eq!(receipt.admission, Admission::Rejected(Reason::Duplicate));
    scene.honest.contribute(&train).await;
    let (partial, _) = scene.root.partial(&train, &scene.fog).await;
    let fl_model::Sum::Update(sum) = partial.sum else {
        panic!("{:?}", partial.contributors);
    };
    assert_eq!((sum.updates, sum.weight), (2, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_devices_contribution_costs_that_device_nothing() {
    let mut scene = scene().await;
    let train = key(2, Phase::Train);
    // The honest device's own bytes, on the attacker's topic.
    let stolen = scene.honest.contribution(&train);
    scene.check(&stolen, Reason::Foreign).await;
    // The attacker's signature under the honest device's name.
    let payload = update(10, vec![1; COORDINATES]);
    let forged = scene
        .honest
        .signed_by(&device_key("attacker"), &train, payload);
    let receipt = scene.honest.deliver(&forged).await;
    assert_eq!(receipt.admission, Admission::Rejected(Reason::BadSignature));
    scene.finish(Reason::Foreign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_not_in_the_roster() {
    let mut scene = scene().await;
    scene.attacker = Device::connect(&scene.fog, "stranger").await;
    scene.fog.logged(&["stranger", "roster add stranger"]).await;
    let unknown = scene.attacker.contribution(&key(2, Phase::Train));
    scene.check(&unknown, Reason::UnknownSender).await;
    scene.finish(Reason::UnknownSender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_another_device_is_closed_by_the_broker() {
    let scene = scene().await;
    let train = key(2, Phase::Train);
    let topic = Topic::up(&region(), &scene.honest.name, Up::Contribution).to_string();
    scene
        .attacker
        .raw(&topic, &scene.attacker.contribution(&train), false)
        .await;
    scene.finish_quietly().await;
}

impl Scene {
    async fn finish_quietly(mut self) {
        let train = key(2, Phase::Train);
        self.honest.contribute(&train).await;
        self.attacker.cut();
        let (partial, _) = self.root.partial(&train, &self.fog).await;
        assert_eq!(partial.contributors, [self.honest.name.clone()]);
        let metrics = self.fog.metrics().await;
        assert!(!metrics.contains("outcome=\"rejected\""), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_control_messages_are_counted_and_change_nothing() {
    let mut scene = scene().await;
    for up in [
        Up::Hello,
        Up::Beat,
        Up::Want,
        Up::Decline,
        Up::Spans,
        Up::Manifest,
    ] {
        scene.attacker.up(up, b"\xd2\x84\x00").await;
        scene.attacker.up(up, &[0xff; 70_000]).await;
    }
    scene
        .attacker
        .raw("fl/1/north/d/attacker/up/nothing", b"x", false)
        .await;
    let refused = || async {
        let metrics = scene.fog.metrics().await;
        metrics
            .contains("fl_messages_refused_total{reason=\"malformed\"}")
            .then_some(())
    };
    until("the refusals", refused).await;
    // A decline that another key signed does not decline.
    let decline = fl_wire::Decline {
        key: key(2, Phase::Train),
        reason: Reason::DataUnusable,
        detail: String::new(),
    };
    let header = scene
        .attacker
        .header(MessageKind::Decline)
        .in_round(&decline.key);
    let forged = seal(&header, &decline, &SigningKey::from_bytes(&[5; 32])).unwrap();
    scene.attacker.up(Up::Decline, &forged).await;
    let train = key(2, Phase::Train);
    scene.attacker.contribute(&train).await;
    scene.honest.contribute(&train).await;
    let (partial, _) = scene.root.partial(&train, &scene.fog).await;
    assert_eq!(partial.contributors.len(), 2);
}
