//! One message of every kind, and objects, with fixed contents: what the golden vectors hold.

use fl_model::{
    Absence, AdaptiveRule, Admission, Contribution, ContributionKey, DataSpec, DeviceId, Digest,
    Epoch, EvaluateWork, EvaluationCounters, Feature, FeatureSpec, FeatureStatistics, Grid,
    GridWidth, JobEnd, JobId, JobSpec, Label, LocalOptimizer, LogEntry, Loss, MemberId,
    Normalization, ObjectRef, Outcome, PartialSum, Payload, Phase, PhaseResult, Privacy,
    ProtectedUpdate, ROOT_NAME, Reason, RegionAbsence, RegionId, RegionSummary, Role, RosterEntry,
    RoundKey, RoundNumber, RoundOutcome, RoundPlan, ServerOptimizer, Split, Sum, TraceContext,
    TrainMetrics, TrainWork, TrainingSpec, UpdateSum, Weighting, Work,
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

fn object(name: &str) -> ObjectRef {
    ObjectRef::to(name.as_bytes())
}

fn data() -> DataSpec {
    let features = vec![
        Feature::Numeric {
            column: "CO".to_owned(),
        },
        Feature::Cyclic {
            source: "hour".to_owned(),
            period: 24.0,
        },
        Feature::Categorical {
            column: "wd".to_owned(),
            categories: vec!["N".to_owned(), "SSW".to_owned()],
        },
    ];
    DataSpec {
        inputs: FeatureSpec {
            features,
            clip: 4.5,
        },
        label: Label::Above {
            column: "PM2.5".to_owned(),
            limit: 75.0,
        },
        time_column: Some("time".to_owned()),
        split: Split::Rows {
            train: (0, Some(26280)),
            test: (26280, None),
        },
    }
}

fn training() -> TrainingSpec {
    TrainingSpec {
        loss: Loss::BinaryCrossEntropy,
        optimizer: LocalOptimizer::Sgd { momentum: 0.9 },
        learning_rate: 0.05,
        weight_decay: 1e-5,
        proximal: 0.0,
        local_epochs: 2,
        batch_size: 32,
    }
}

fn normalization() -> Normalization {
    Normalization {
        mean: vec![1230.5, 0.0, 0.0, 0.0, 0.0],
        scale: vec![0.1, 1.0, 1.0, 1.0, 1.0],
    }
}

fn grid() -> Grid {
    Grid {
        width: GridWidth::W32,
        exponents: vec![-30, -28],
    }
}

fn train_work() -> TrainWork {
    TrainWork {
        training: training(),
        normalization: normalization(),
        grid: grid(),
        clip_norm: 10.0,
        weighting: Weighting::Capped,
        weight_max: 4096,
        privacy: Privacy::Off,
        seed: 42,
    }
}

pub(crate) fn plan(phase: Phase) -> RoundPlan {
    let work = match phase {
        Phase::Statistics => Work::Statistics,
        Phase::Train => Work::Train(Box::new(train_work())),
        Phase::Evaluate => Work::Evaluate(EvaluateWork {
            loss: Loss::Huber { delta: 1.5 },
            normalization: normalization(),
        }),
    };
    RoundPlan {
        key: round_key(phase),
        epoch: Epoch(3),
        model: object("model"),
        parameters: ObjectRef::to(&[0; 1000]),
        data: data(),
        work,
        quorum: 8,
        contributions_max: 12,
        deadline_ms: 20_000,
        trace: trace(),
    }
}

fn statistics() -> FeatureStatistics {
    FeatureStatistics {
        rows: 1440,
        count: vec![1400, 1440],
        missing: vec![40, 0],
        sum: vec![-5, i128::MAX],
        squares: vec![i128::MIN, 1 << 70],
    }
}

fn counters() -> EvaluationCounters {
    EvaluationCounters {
        examples: 8784,
        correct: 7600,
        loss: -1_048_576,
        confusion: vec![4000, 600, 584, 3600],
        absolute_error: 0,
        squared_error: i64::MAX,
    }
}

pub(crate) fn contribution(phase: Phase) -> Contribution {
    let payload = match phase {
        Phase::Statistics => Payload::Statistics(statistics()),
        Phase::Train => Payload::Update {
            update: ProtectedUpdate::Plain {
                weight: 1440,
                q: vec![vec![1, -2, 32767, -32768], vec![i32::MIN, 40_000, 0]],
            },
            metrics: TrainMetrics {
                examples: 1440,
                loss: 734_003,
                magnitudes: vec![-3, Grid::ALL_ZERO],
                saturated: vec![0, 1],
            },
        },
        Phase::Evaluate => Payload::Evaluation(counters()),
    };
    Contribution {
        key: contribution_key(phase),
        payload,
    }
}

pub(crate) fn partial(phase: Phase) -> PartialSum {
    let sum = match phase {
        Phase::Statistics => Sum::Statistics(statistics()),
        Phase::Train => Sum::Update(UpdateSum {
            wq: vec![vec![i64::MIN, 0, 1 << 40, -1], vec![i64::MAX; 3]],
            weight: 2880,
            updates: 2,
            examples: 2880,
            loss: 1_468_006,
            magnitudes: vec![-3, -1],
            saturated: vec![0, 2],
        }),
        Phase::Evaluate => Sum::Evaluation(counters()),
    };
    PartialSum {
        key: round_key(phase),
        region: region(),
        epoch: Epoch(3),
        sum,
        contributors: vec![device(), DeviceId::new("edge-02").unwrap()],
        absent: vec![Absence {
            device: DeviceId::new("edge-03").unwrap(),
            reason: Reason::Disconnected,
        }],
        edge_up_bytes: 123_456,
        down_bytes: 654_321,
    }
}

fn job_spec() -> JobSpec {
    JobSpec {
        job: job(),
        model: "particle-mlp".to_owned(),
        rounds: 30,
        quorum: 8,
        deadline_ms: 20_000,
        seed: 42,
        randomize: true,
        training: TrainingSpec {
            optimizer: LocalOptimizer::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
            },
            ..training()
        },
        data: data(),
        grid: GridWidth::W32,
        clip_norm: 10.0,
        weighting: Weighting::Examples,
        weight_max: 4096,
        contributions_max: 12,
        server: ServerOptimizer::Adaptive {
            rule: AdaptiveRule::Yogi,
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            tau: 0.001,
        },
    }
}

/// One entry of every variant, and of every result.
pub(crate) fn log_entries() -> Vec<(&'static str, LogEntry)> {
    let key = round_key(Phase::Train);
    let at_us = 1_795_000_000_000_000;
    let settled = |phase, result| LogEntry::Settled {
        key: round_key(phase),
        result: Box::new(result),
        at_us,
    };
    vec![
        (
            "submitted",
            LogEntry::Submitted {
                spec: Box::new(job_spec()),
                model: object("model"),
                parameters: object("parameters"),
                tensors: vec![4, 3],
                at_us,
            },
        ),
        (
            "led",
            LogEntry::Led {
                epoch: Epoch(3),
                at_us,
            },
        ),
        (
            "opened",
            LogEntry::Opened {
                plan: Box::new(plan(Phase::Train)),
                regions: vec![region()],
                at_us,
            },
        ),
        (
            "partial_accepted",
            LogEntry::PartialAccepted {
                key: key.clone(),
                region: region(),
                digest: Digest::of(b"partial"),
                summary: RegionSummary {
                    contributors: 2,
                    absent: partial(Phase::Train).absent,
                    edge_up_bytes: 123_456,
                    fog_up_bytes: 1_000,
                    down_bytes: 654_321,
                },
                at_us,
            },
        ),
        (
            "closed",
            LogEntry::Closed {
                key,
                outcome: RoundOutcome::NoQuorum,
                absent: vec![RegionAbsence {
                    region: region(),
                    reason: Reason::FogSilent,
                }],
                at_us,
            },
        ),
        (
            "settled_statistics",
            settled(
                Phase::Statistics,
                PhaseResult::Statistics {
                    rows: 17_280,
                    normalization: normalization(),
                },
            ),
        ),
        (
            "settled_train",
            settled(
                Phase::Train,
                PhaseResult::Train {
                    parameters: object("next parameters"),
                    moments: Some(object("moments")),
                    grid: grid(),
                    examples: 17_280,
                    loss: 0.3712,
                },
            ),
        ),
        (
            "settled_evaluate",
            settled(Phase::Evaluate, PhaseResult::Evaluate(counters())),
        ),
        (
            "ended",
            LogEntry::Ended {
                how: JobEnd::Finished,
                at_us,
            },
        ),
    ]
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
    all.push(sample(
        "manifest",
        &fog(),
        &Manifest {
            object: ObjectRef {
                digest: Digest::of(b"object"),
                bytes: 122_881,
            },
            chunk_bytes: 122_880,
            chunks: vec![Digest::of(b"first"), Digest::of(b"second")],
        },
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
