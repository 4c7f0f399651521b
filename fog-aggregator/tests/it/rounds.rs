//! Whole phases: plan, objects, contributions, partial, record.

use fl_model::{Outcome, Phase, Reason, RoundOutcome, Sum};
use fl_runtime::testing::{NatsProcess, until};
use fl_telemetry::{RoundContext, Unit};
use fl_wire::topics::{Broadcast, ChunkName, Up};
use fl_wire::{
    Answer, Assembler, AttributeValue, Chunker, Decline, Envelope, Manifest, MessageKind,
    SpanBatch, WireSpan, seal,
};

use crate::device::{Device, update};
use crate::fog::Fog;
use crate::root::{Root, enrolled, key, root_key};

/// A deadline that no test waits for.
const NEVER_MS: u32 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phase_goes_from_plan_to_record() {
    let (_nats, root, mut fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let mut two = Device::connect(&fog, "edge-02").await;
    let train = key(1, Phase::Train);
    let plan = root.open(&train, NEVER_MS).await;

    let verbatim = one.broadcast(Broadcast::Plan(train.job.clone())).await;
    let verified = Envelope::parse(&verbatim, verbatim.len()).unwrap();
    let verified = verified.verify(&root_key().verifying_key()).unwrap();
    assert_eq!(verified.open::<fl_model::RoundPlan>().unwrap(), plan);
    let parameters = object(&mut one, &fog, plan.parameters.digest).await;
    assert_eq!(fl_model::ObjectRef::to(&parameters), plan.parameters);

    one.contribute(&train).await;
    two.contribute(&train).await;
    let (partial, digest) = root.partial(&train, &fog).await;
    assert_eq!(partial.contributors, [one.name.clone(), two.name.clone()]);
    assert_eq!(partial.absent, []);
    assert!(partial.down_bytes > plan.parameters.bytes);
    let Sum::Update(sum) = &partial.sum else {
        panic!("{:?}", partial.sum);
    };
    assert_eq!((sum.weight, sum.wq.concat()), (20, vec![140; 4]));

    root.settle(&train, Some(digest)).await;
    assert_eq!(one.settled().await.outcome, Outcome::Counted);
    assert_eq!(two.settled().await.outcome, Outcome::Counted);
    let emptied = || async { fog.status().filter(|status| status.outbox.partials == 0) };
    until("the outbox to be empty", emptied).await;

    // Long after, the record still answers.
    one.hello(&[train.clone(), key(7, Phase::Train)]).await;
    let welcome = until_answered(&mut one, 1).await;
    assert_eq!(
        welcome[0],
        (
            one.contribution_key(&train),
            Answer::Settled(Outcome::Counted)
        )
    );

    for line in [
        "fl_contributions_total{outcome=\"accepted\",reason=\"\"} 2",
        "fl_contributions_total{outcome=\"counted\",reason=\"\"} 2",
        "fl_devices_connected 2",
        "fl_outbox_depth 0",
        "fl_snapshot_duration_seconds_count",
    ] {
        // Gauges are set with the fog's heartbeat.
        let said = || async { fog.metrics().await.contains(line).then_some(()) };
        until(line, said).await;
    }
    root.end_job().await;
    let cleared = one.broadcast(Broadcast::Plan(train.job.clone())).await;
    assert_eq!(cleared, b"");
    assert!(fog.stop().await.success());
}

/// The first welcome that has that many answers or more.
async fn until_answered(
    device: &mut Device,
    answers: usize,
) -> Vec<(fl_model::ContributionKey, Answer)> {
    loop {
        let welcome = device.welcome().await;
        if welcome.answers.len() >= answers {
            return welcome.answers;
        }
    }
}

/// Puts an object together out of what is broadcast.
async fn object(device: &mut Device, fog: &Fog, digest: fl_model::Digest) -> Vec<u8> {
    let signed = device.broadcast(Broadcast::Manifest(digest)).await;
    let verified = Envelope::parse(&signed, signed.len()).unwrap();
    let verified = verified.verify(&fog.key().verifying_key()).unwrap();
    let manifest: Manifest = verified.open().unwrap();
    let count = manifest.chunks.len();
    let mut assembler = Assembler::new(manifest, 1 << 20).unwrap();
    for number in 0..u32::try_from(count).unwrap() {
        let chunk = device
            .broadcast(Broadcast::Chunk(ChunkName { digest, number }))
            .await;
        assembler.place(number, &chunk).unwrap();
    }
    assembler.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_waited_for_who_is_gone_or_says_no() {
    let (_nats, root, fog) = enrolled(&["edge-01", "edge-02", "edge-03"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let two = Device::connect(&fog, "edge-02").await;
    let three = Device::connect(&fog, "edge-03").await;
    let statistics = key(0, Phase::Statistics);
    root.open(&statistics, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(statistics.job.clone())).await;
    one.contribute(&statistics).await;
    two.cut();
    let decline = Decline {
        key: statistics.clone(),
        reason: Reason::DataUnusable,
        detail: "no rows".into(),
    };
    let header = three.header(MessageKind::Decline).in_round(&statistics);
    three
        .up(Up::Decline, &seal(&header, &decline, &three.key).unwrap())
        .await;

    let (partial, _) = root.partial(&statistics, &fog).await;
    assert_eq!(partial.contributors, [one.name.clone()]);
    let absent: Vec<_> = partial
        .absent
        .iter()
        .map(|a| (a.device.as_str(), a.reason))
        .collect();
    let expected = [
        ("edge-02", Reason::Disconnected),
        ("edge-03", Reason::DataUnusable),
    ];
    assert_eq!(absent, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_whose_place_is_taken_gets_it_once_it_is_free() {
    let (_nats, root, fog) = enrolled(&["edge-01"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    let intruder = root.intrude(&train).await;
    root.open(&train, NEVER_MS).await;
    one.contribute(&train).await;
    fog.logged(&["is not in the stream yet", "holds another"])
        .await;
    root.evict(&train, intruder).await;
    let (partial, _) = root.partial(&train, &fog).await;
    assert_eq!(partial.contributors, [one.name.clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_closes_without_the_silent() {
    let (_nats, root, fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let mut two = Device::connect(&fog, "edge-02").await;
    let evaluate = key(1, Phase::Evaluate);
    root.open(&evaluate, 1_500).await;
    one.contribute(&evaluate).await;
    let (partial, _) = root.partial(&evaluate, &fog).await;
    assert_eq!(partial.contributors, [one.name.clone()]);
    assert_eq!(partial.absent[0].reason, Reason::Deadline);
    let late = two.deliver(&two.contribution(&evaluate)).await;
    assert_eq!(late.admission, fl_model::Admission::Rejected(Reason::Late));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_contribution_comes_in_chunks_and_a_large_partial_goes_as_an_object() {
    let (_nats, root, fog) = enrolled(&["edge-01"]).await;
    let root = root.with_coordinates(MANY);
    let mut device = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    device.broadcast(Broadcast::Plan(train.job.clone())).await;

    let signed = device.signed(&train, update(3, vec![5; MANY]));
    let chunker = Chunker::of_contribution(&signed, &train).unwrap();
    let (manifest, digest) = (chunker.manifest(), chunker.manifest().object.digest);
    assert!(manifest.chunks.len() > 2);
    let announced = device.announcement(&train, manifest);
    device.up(Up::Manifest, &announced).await;
    device
        .up(
            Up::Chunk(ChunkName { digest, number: 1 }),
            chunker.chunk(1).unwrap(),
        )
        .await;
    device
        .up(
            Up::Chunk(ChunkName { digest, number: 2 }),
            b"damaged on its way",
        )
        .await;
    let want = device.want().await;
    assert_eq!(want.ranges[0], (0, 1));
    // Announced again, as after a lost connection: what is here is not asked for.
    device.up(Up::Manifest, &announced).await;
    let want = device.want().await;
    for (number, chunk) in chunker.wanted(&want) {
        device
            .up(Up::Chunk(ChunkName { digest, number }), chunk)
            .await;
    }
    let receipt = device.receipt().await;
    assert_eq!(receipt.admission, fl_model::Admission::Admitted);
    assert_eq!(receipt.digest, digest);

    let (partial, _) = root.partial(&train, &fog).await;
    let Sum::Update(sum) = partial.sum else {
        panic!("{:?}", partial.contributors);
    };
    assert!(sum.wq[0].iter().all(|&wq| wq == 15) && sum.wq[0].len() == MANY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_asks_for_what_was_broadcast() {
    let (_nats, root, fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let evaluate = key(1, Phase::Evaluate);
    let plan = root.open(&evaluate, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(evaluate.job.clone())).await;
    one.contribute(&evaluate).await;

    let mut late = Device::connect(&fog, "edge-02").await;
    late.broadcast(Broadcast::Plan(evaluate.job.clone())).await;
    let want = fl_wire::Want {
        digest: plan.model.digest,
        ranges: Vec::new(),
    };
    late.up(
        Up::Want,
        &seal(&late.header(MessageKind::Want), &want, &late.key).unwrap(),
    )
    .await;
    let manifest = late.down_manifest().await;
    assert_eq!(manifest.object, plan.model);
    let chunk = late
        .down_chunk(ChunkName {
            digest: plan.model.digest,
            number: 0,
        })
        .await;
    assert_eq!(fl_model::ObjectRef::to(&chunk), plan.model);
    late.contribute(&evaluate).await;
    let (partial, _) = root.partial(&evaluate, &fog).await;
    assert_eq!(partial.contributors.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ends_lets_its_devices_go() {
    let (_nats, root, fog) = enrolled(&["edge-01", "edge-02"]).await;
    let mut one = Device::connect(&fog, "edge-01").await;
    let _two = Device::connect(&fog, "edge-02").await;
    let train = key(3, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.contribute(&train).await;
    root.end_job().await;
    let over = || async { fog.status().filter(|status| status.round.is_none()) };
    until("the round to be over", over).await;
    root.record(&train, RoundOutcome::NoQuorum, None, Reason::JobEnded)
        .await;
    assert_eq!(
        one.settled().await.outcome,
        Outcome::Excluded(Reason::JobEnded)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_devices_own_spans_are_told_inside_its_row() {
    let (_nats, root, fog) = enrolled(&["edge-01"]).await;
    let mut device = Device::connect(&fog, "edge-01").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    device.contribute(&train).await;
    // A clock in 1970, a span that no device has, and an attribute that is not a device's to set.
    let span = |name: &str| WireSpan {
        name: name.into(),
        start_us: 3_000_000,
        end_us: 3_000_500,
        attributes: vec![
            ("fl.examples".into(), AttributeValue::I64(10)),
            ("clock.offset_ms".into(), AttributeValue::I64(-7_654_321)),
            ("fl.job".into(), AttributeValue::Text("forged".into())),
        ],
        error: None,
        events: Vec::new(),
    };
    let batch = SpanBatch {
        key: train.clone(),
        stamped_us: 3_000_600,
        spans: vec![span("train"), span("round 1")],
    };
    let header = device.header(MessageKind::Spans).in_round(&train);
    let signed = seal(&header, &batch, &device.key).unwrap();
    device.up(Up::Spans, &signed).await;
    let (_, digest) = root.partial(&train, &fog).await;
    root.settle(&train, Some(digest)).await;

    let context = RoundContext::new("air", 1, 0);
    let row = context.span_id(&Unit::Device("edge-01")).to_string();
    let told = || async {
        let spans = fog.spans();
        let named = |name: &str| spans.iter().find(|span| span["name"] == name).cloned();
        Some((named("device edge-01")?, named("train")?))
    };
    let (device_span, train_span) = until("the device's spans", told).await;
    assert_eq!(device_span["spanId"], row.as_str());
    assert_eq!(train_span["parentSpanId"], row.as_str());
    let nanos =
        |span: &serde_json::Value, at: &str| -> u64 { span[at].as_str().unwrap().parse().unwrap() };
    let inside = |at| {
        let range =
            nanos(&device_span, "startTimeUnixNano")..=nanos(&device_span, "endTimeUnixNano");
        range.contains(&nanos(&train_span, at))
    };
    assert!(inside("startTimeUnixNano") && inside("endTimeUnixNano"));
    let resource = train_span["resource"].to_string();
    assert!(
        resource.contains("edge-agent") && resource.contains("edge-01"),
        "{resource}"
    );
    let attributes = train_span["attributes"].to_string();
    assert!(
        attributes.contains("fl.examples")
            && attributes.contains("clock.offset_ms")
            && attributes.contains("-7654321")
            && !attributes.contains("forged"),
        "{attributes}"
    );
    assert!(!fog.spans().iter().any(|span| span["name"] == "round 1"));
}

/// Coordinates with which a train contribution is larger than any evaluation.
const SEVERAL: usize = 2_000;

/// With which it comes in chunks.
const MANY: usize = 200_000;

/// Trains a round with two devices and one tensor of that many coordinates, and opens its evaluation.
/// Gives the first device's train contribution, which was counted.
async fn evaluating(coordinates: usize) -> (NatsProcess, Root, Fog, [Device; 2], Vec<u8>) {
    let (nats, root, fog) = enrolled(&["edge-01", "edge-02"]).await;
    let root = root.with_coordinates(coordinates);
    let mut one = Device::connect(&fog, "edge-01").await;
    let mut two = Device::connect(&fog, "edge-02").await;
    let train = key(1, Phase::Train);
    root.open(&train, NEVER_MS).await;
    one.broadcast(Broadcast::Plan(train.job.clone())).await;
    let signed = one.signed(&train, update(10, vec![i32::MAX; coordinates]));
    one.send_whole(&train, &signed).await;
    let receipt = one.receipt().await;
    assert_eq!(receipt.admission, fl_model::Admission::Admitted);
    two.cut();
    let (_, digest) = root.partial(&train, &fog).await;
    root.settle(&train, Some(digest)).await;
    assert_eq!(one.settled().await.outcome, Outcome::Counted);
    two = Device::connect(&fog, "edge-02").await;
    root.open(&key(1, Phase::Evaluate), NEVER_MS).await;
    fog.logged(&["following air/1/evaluate"]).await;
    (nats, root, fog, [one, two], signed)
}

/// Sends what was counted once more while the evaluation is open, as a device does whose receipt was
/// lost: it learns how it ended, and may still take part in the evaluation.
async fn check_resent(coordinates: usize) {
    let (_nats, root, fog, [mut one, mut two], signed) = evaluating(coordinates).await;
    let (train, evaluate) = (key(1, Phase::Train), key(1, Phase::Evaluate));
    let counted = [(
        one.contribution_key(&train),
        Answer::Settled(Outcome::Counted),
    )];
    one.send_whole(&train, &signed).await;
    assert_eq!(until_answered(&mut one, 1).await, counted);
    one.contribute(&evaluate).await;
    two.contribute(&evaluate).await;
    let (partial, digest) = root.partial(&evaluate, &fog).await;
    assert_eq!(partial.contributors.len(), 2);
    root.settle(&evaluate, Some(digest)).await;
    root.end_job().await;
    let over = || async { fog.status().filter(|status| status.round.is_none()) };
    until("the round to be over", over).await;
    one.send_whole(&train, &signed).await;
    assert_eq!(until_answered(&mut one, 1).await, counted);
    let metrics = fog.metrics().await;
    assert!(!metrics.contains("reason=\"oversized\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_counted_and_comes_again_in_the_evaluation_is_settled() {
    check_resent(SEVERAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_in_chunks_does_not_cost_the_evaluation() {
    check_resent(MANY).await;
}
