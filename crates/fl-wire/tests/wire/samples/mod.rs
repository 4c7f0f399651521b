//! One message of every kind, and objects, with fixed contents: what the golden vectors hold.

mod domain;

pub(crate) use domain::{contribution, log_entries, partial, plan, plans_of_tensors};

use fl_model::{
    Admission, ContributionKey, DeviceId, Digest, Epoch, JobId, MemberId, ObjectRef, Outcome,
    Phase, ROOT_NAME, Reason, RegionAbsence, RegionId, Role, RosterEntry, RoundKey, RoundNumber,
    RoundOutcome, TraceContext,
};
use fl_wire::{
    Answer, AttributeValue, Beat, Body, Decline, EnvelopeList, FogBeat, Header, Hello, Manifest,
    MomentsObject, ParameterObject, Receipt, RoundSettled, SettledNotice, SigningKey,
    SnapshotObject, SpanBatch, SpanEvent, VersionRange, Want, Welcome, WireError, WireSpan, seal,
};

/// The key of everybody in the vectors.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn job() -> JobId {
    JobId::new("air").unwrap()
}

pub(crate) fn region() -> RegionId {
    RegionId::new("north").unwrap()
}

pub(crate) fn device() -> DeviceId {
    DeviceId::new("edge-01").unwrap()
}

pub(crate) fn fog() -> MemberId {
    MemberId::new("fog-north").unwrap()
}

pub(crate) fn root() -> MemberId {
    MemberId::new(ROOT_NAME).unwrap()
}

pub(crate) fn round_key(phase: Phase) -> RoundKey {
    RoundKey {
        job: job(),
        round: RoundNumber(if phase == Phase::Statistics { 0 } else { 17 }),
        phase,
    }
}

pub(crate) fn contribution_key(phase: Phase) -> ContributionKey {
    ContributionKey {
        round: round_key(phase),
        device: device(),
    }
}

fn trace() -> TraceContext {
    TraceContext {
        trace_id: *b"trace-0123456789",
        span_id: *b"span-017",
    }
}

fn spans() -> SpanBatch {
    let text = |text: &str| AttributeValue::Text(text.to_owned());
    SpanBatch {
        key: round_key(Phase::Train),
        stamped_us: -1,
        spans: vec![WireSpan {
            name: "train".to_owned(),
            start_us: -4_000_000,
            end_us: -1_000,
            attributes: vec![
                ("fl.examples".to_owned(), AttributeValue::I64(1440)),
                ("fl.loss".to_owned(), AttributeValue::F64(0.37)),
                ("fl.slow".to_owned(), AttributeValue::Bool(false)),
            ],
            error: Some("update diverged".to_owned()),
            events: vec![SpanEvent {
                name: "throttled".to_owned(),
                at_us: -2_000,
                attributes: vec![("fl.reason".to_owned(), text("temperature"))],
            }],
        }],
    }
}

/// A message with a name: its header and a way to seal it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) header: Header,
    pub(crate) bytes: Vec<u8>,
}

fn sample<B: Body>(
    name: &str,
    from: &MemberId,
    body: &B,
    more: impl Fn(Header) -> Header,
) -> Sample {
    let scope = body.scope();
    let mut header = Header::new(body.kind(), from);
    header.job = scope.job;
    header.round = scope.round;
    header.region = scope.region;
    header.epoch = scope.epoch.unwrap_or(Epoch(3));
    let header = more(header);
    let bytes = seal(&header, body, &key()).unwrap();
    Sample {
        name: name.to_owned(),
        header,
        bytes,
    }
}

/// One message of every kind, and one of every variant where a kind has several.
pub(crate) fn messages() -> Vec<Sample> {
    let same = |header: Header| header;
    let regional = |header: Header| header.in_region(&region());
    let mut all = Vec::new();
    for phase in Phase::ALL {
        let traced = |header: Header| header.traced(trace());
        all.push(sample(
            &format!("plan_{phase}"),
            &root(),
            &plan(phase),
            traced,
        ));
        let name = format!("contribution_{phase}");
        all.push(sample(&name, &device(), &contribution(phase), |h| {
            regional(traced(h))
        }));
        all.push(sample(
            &format!("partial_{phase}"),
            &fog(),
            &partial(phase),
            traced,
        ));
    }
    for (name, plan) in plans_of_tensors() {
        all.push(sample(name, &root(), &plan, |h| h.traced(trace())));
    }
    let key = contribution_key(Phase::Train);
    let receipt = Receipt {
        key: key.clone(),
        digest: Digest::of(b"contribution"),
        admission: Admission::Admitted,
    };
    all.push(sample("receipt_admitted", &fog(), &receipt, regional));
    let rejected = Receipt {
        admission: Admission::Rejected(Reason::OverWeight),
        ..receipt
    };
    all.push(sample("receipt_rejected", &fog(), &rejected, regional));
    let outcome = Outcome::Excluded(Reason::NoQuorum);
    let notice = SettledNotice {
        key: key.clone(),
        outcome,
    };
    all.push(sample("settled_notice", &fog(), &notice, regional));
    all.push(sample(
        "round_settled",
        &root(),
        &RoundSettled {
            key: round_key(Phase::Train),
            outcome: RoundOutcome::Merged,
            accepted: vec![(region(), Digest::of(b"partial"))],
            windows: vec![(region(), (1_795_000_000_000_000, 1_795_000_001_000_000))],
            absent: vec![RegionAbsence {
                region: RegionId::new("south").unwrap(),
                reason: Reason::RegionLate,
            }],
        },
        same,
    ));
    all.push(sample(
        "roster_entry",
        &root(),
        &RosterEntry {
            number: 5,
            member: device(),
            role: Role::Device,
            region: region(),
            key: key_bytes(),
            removed: false,
        },
        same,
    ));
    all.push(sample(
        "hello",
        &device(),
        &Hello {
            versions: VersionRange::SPOKEN,
            agent: "0.1.0".to_owned(),
            runtime: "1.31.1".to_owned(),
            outstanding: vec![key.clone()],
            epoch: Epoch(2),
            wants: vec![want()],
        },
        regional,
    ));
    let answers = [
        Answer::Admitted,
        Answer::Rejected(Reason::Stale),
        Answer::Settled(Outcome::Counted),
        Answer::SendAgain,
        Answer::Unknown,
    ];
    all.push(sample(
        "welcome",
        &fog(),
        &Welcome {
            fog_time_us: 1_795_000_000_000_000,
            version: 1,
            answers: answers.map(|answer| (key.clone(), answer)).to_vec(),
        },
        regional,
    ));
    all.push(sample(
        "beat",
        &device(),
        &Beat {
            sent_us: -5,
            working_on: Some(round_key(Phase::Evaluate)),
            outstanding: 1,
            declining: None,
        },
        regional,
    ));
    all.push(sample(
        "fog_beat",
        &fog(),
        &FogBeat {
            region: region(),
            sent_us: 1_795_000_000_000_000,
            epoch: Epoch(3),
            devices_online: 4,
            devices_known: 5,
            partials_waiting: 0,
            open: None,
            admitted: 0,
        },
        same,
    ));
    let manifest = Manifest {
        object: ObjectRef {
            digest: Digest::of(b"object"),
            bytes: 122_881,
        },
        chunk_bytes: 122_880,
        chunks: vec![Digest::of(b"first"), Digest::of(b"second")],
        contribution_to: None,
    };
    all.push(sample("manifest", &fog(), &manifest, regional));
    let of_contribution = Manifest {
        contribution_to: Some(round_key(Phase::Train)),
        ..manifest
    };
    all.push(sample(
        "manifest_of_contribution",
        &device(),
        &of_contribution,
        regional,
    ));
    all.push(sample("want", &device(), &want(), regional));
    all.push(sample(
        "decline",
        &device(),
        &Decline {
            key: round_key(Phase::Train),
            reason: Reason::DataUnusable,
            detail: "column CO is missing from data.csv".to_owned(),
        },
        regional,
    ));
    all.push(sample("spans", &device(), &spans(), regional));
    for (name, entry) in log_entries() {
        let in_job = |header: Header| header.in_job(&job());
        all.push(sample(&format!("log_{name}"), &root(), &entry, in_job));
    }
    all
}

fn key_bytes() -> [u8; 32] {
    key().verifying_key().to_bytes()
}

fn want() -> Want {
    Want {
        digest: Digest::of(b"object"),
        ranges: vec![(0, 2), (5, 6)],
    }
}

/// Objects by name, encoded.
pub(crate) fn objects() -> Vec<(&'static str, Vec<u8>)> {
    fn encoded(object: &impl fl_wire::Encoded) -> Vec<u8> {
        let bytes: Result<Vec<u8>, WireError> = object.encode();
        bytes.unwrap()
    }
    vec![
        ("object_parameters", encoded(&parameters())),
        (
            "object_moments",
            encoded(&MomentsObject {
                first: vec![vec![0.5, -0.5], vec![]],
                second: vec![vec![1e-9, 3.0], vec![]],
            }),
        ),
        (
            "object_snapshot",
            encoded(&SnapshotObject {
                partial: partial(Phase::Train),
                admitted: partial(Phase::Train)
                    .contributors
                    .into_iter()
                    .map(|device| (device, Digest::of(b"contribution")))
                    .collect(),
            }),
        ),
        (
            "object_envelopes",
            encoded(&EnvelopeList {
                envelopes: vec![vec![1, 2, 3], vec![]],
            }),
        ),
    ]
}

pub(crate) fn parameters() -> ParameterObject {
    ParameterObject {
        names: vec!["fc.weight".to_owned(), "fc.bias".to_owned()],
        shapes: vec![vec![2, 2], vec![2]],
        tensors: vec![vec![1.0, -0.25, f32::MIN_POSITIVE, 1e30], vec![0.0, -0.0]],
    }
}
