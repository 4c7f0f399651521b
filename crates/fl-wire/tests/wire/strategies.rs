//! Arbitrary values of every body and object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use fl_model::{
    Absence, AdaptiveRule, Admission, Contribution, ContributionKey, DataSpec, Digest, Epoch,
    EvaluateWork, EvaluationCounters, Feature, FeatureSpec, FeatureStatistics, Grid, GridWidth,
    JobEnd, JobId, JobSpec, Label, LocalOptimizer, LogEntry, Loss, MemberId, Normalization,
    ObjectRef, Outcome, PartialSum, Payload, Phase, PhaseResult, Privacy, ProtectedUpdate, Reason,
    RegionAbsence, RegionId, RegionSummary, Role, RosterEntry, RoundKey, RoundNumber, RoundOutcome,
    RoundPlan, ServerOptimizer, Split, Sum, TraceContext, TrainMetrics, TrainWork, TrainingSpec,
    UpdateSum, Weighting, Work,
};
use fl_wire::{
    Answer, AttributeValue, Beat, Decline, EnvelopeList, FogBeat, Hello, Manifest, MomentsObject,
    ParameterObject, Receipt, RoundSettled, SettledNotice, SnapshotObject, SpanBatch, SpanEvent,
    VersionRange, Want, Welcome, WireSpan, limits,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{properties, samples};

const NAME: &str = "[A-Za-z0-9][A-Za-z0-9_-]{0,47}";
const TEXT: &str = ".{0,12}";

/// Tensors and columns of a value.
const TENSORS: std::ops::Range<usize> = 0..4;
const COORDINATES: std::ops::Range<usize> = 0..6;

/// The sealed samples, made once.
pub(crate) fn sample_bytes() -> &'static [Vec<u8>] {
    static BYTES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BYTES.get_or_init(|| {
        samples::messages()
            .into_iter()
            .map(|sample| sample.bytes)
            .collect()
    })
}

/// The bodies of the samples, and the objects.
pub(crate) fn sample_bodies() -> &'static [Vec<u8>] {
    static BODIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BODIES.get_or_init(|| {
        let bodies = sample_bytes()
            .iter()
            .map(|bytes| properties::body_of(bytes));
        let objects = samples::objects().into_iter().map(|(_, bytes)| bytes);
        bodies.chain(objects).collect()
    })
}

fn finite() -> impl Strategy<Value = f32> {
    prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO
}

fn wide() -> impl Strategy<Value = f64> {
    use prop::num::f64;
    f64::NORMAL | f64::SUBNORMAL | f64::ZERO | f64::INFINITE
}

fn job() -> impl Strategy<Value = JobId> {
    NAME.prop_map(|name| JobId::new(&name).unwrap())
}

fn region() -> impl Strategy<Value = RegionId> {
    NAME.prop_map(|name| RegionId::new(&name).unwrap())
}

fn member() -> impl Strategy<Value = MemberId> {
    NAME.prop_map(|name| MemberId::new(&name).unwrap())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn object() -> impl Strategy<Value = ObjectRef> {
    (digest(), any::<u64>()).prop_map(|(digest, bytes)| ObjectRef { digest, bytes })
}

fn reason() -> impl Strategy<Value = Reason> {
    select(Reason::ALL)
}

fn phase() -> impl Strategy<Value = Phase> {
    select(Phase::ALL.to_vec())
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn round_key_of(phase: Phase) -> impl Strategy<Value = RoundKey> {
    (job(), any::<u32>()).prop_map(move |(job, round)| RoundKey {
        job,
        round: RoundNumber(round),
        phase,
    })
}

fn round_key() -> impl Strategy<Value = RoundKey> {
    phase().prop_flat_map(round_key_of)
}

fn contribution_key() -> impl Strategy<Value = ContributionKey> {
    (round_key(), member()).prop_map(|(round, device)| ContributionKey { round, device })
}

fn trace() -> impl Strategy<Value = TraceContext> {
    any::<([u8; 16], [u8; 8])>().prop_map(|(trace_id, span_id)| TraceContext { trace_id, span_id })
}

fn feature() -> impl Strategy<Value = Feature> {
    prop_oneof![
        TEXT.prop_map(|column| Feature::Numeric { column }),
        (TEXT, finite()).prop_map(|(source, period)| Feature::Cyclic { source, period }),
        (TEXT, vec(TEXT, 0..4))
            .prop_map(|(column, categories)| Feature::Categorical { column, categories }),
    ]
}

fn label() -> impl Strategy<Value = Label> {
    prop_oneof![
        (TEXT, wide()).prop_map(|(column, limit)| Label::Above { column, limit }),
        (TEXT, vec(TEXT, 0..4)).prop_map(|(column, classes)| Label::Class { column, classes }),
        TEXT.prop_map(|column| Label::Value { column }),
    ]
}

fn split() -> impl Strategy<Value = Split> {
    let rows = || (any::<u64>(), option::of(any::<u64>()));
    prop_oneof![
        (rows(), rows()).prop_map(|(train, test)| Split::Rows { train, test }),
        wide().prop_map(|test_fraction| Split::Tail { test_fraction }),
        (TEXT, TEXT, TEXT).prop_map(|(column, train, test)| Split::Column {
            column,
            train,
            test
        }),
    ]
}

fn data() -> impl Strategy<Value = DataSpec> {
    (
        vec(feature(), 0..5),
        finite(),
        label(),
        option::of(TEXT),
        split(),
    )
        .prop_map(|(features, clip, label, time_column, split)| DataSpec {
            inputs: FeatureSpec { features, clip },
            label,
            time_column,
            split,
        })
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::SoftmaxCrossEntropy),
        Just(Loss::BinaryCrossEntropy),
        Just(Loss::MeanSquaredError),
        Just(Loss::MeanAbsoluteError),
        finite().prop_map(|delta| Loss::Huber { delta }),
    ]
}

fn local_optimizer() -> impl Strategy<Value = LocalOptimizer> {
    prop_oneof![
        finite().prop_map(|momentum| LocalOptimizer::Sgd { momentum }),
        (finite(), finite(), finite()).prop_map(|(beta1, beta2, epsilon)| LocalOptimizer::Adam {
            beta1,
            beta2,
            epsilon,
        }),
    ]
}

fn training() -> impl Strategy<Value = TrainingSpec> {
    let rates = (finite(), finite(), finite());
    (loss(), local_optimizer(), rates, any::<(u32, u32)>()).prop_map(
        |(loss, optimizer, (learning_rate, weight_decay, proximal), (local_epochs, batch_size))| {
            TrainingSpec {
                loss,
                optimizer,
                learning_rate,
                weight_decay,
                proximal,
                local_epochs,
                batch_size,
            }
        },
    )
}

fn normalization() -> impl Strategy<Value = Normalization> {
    vec((finite(), finite()), 0..6).prop_map(|columns| {
        let (mean, scale) = columns.into_iter().unzip();
        Normalization { mean, scale }
    })
}

fn width() -> impl Strategy<Value = GridWidth> {
    select(vec![GridWidth::W16, GridWidth::W32])
}

fn grid() -> impl Strategy<Value = Grid> {
    let exponent = -Grid::EXPONENT_MAX..=Grid::EXPONENT_MAX;
    (width(), vec(exponent, TENSORS)).prop_map(|(width, exponents)| Grid { width, exponents })
}

fn weighting() -> impl Strategy<Value = Weighting> {
    select(vec![
        Weighting::Examples,
        Weighting::Capped,
        Weighting::Uniform,
    ])
}

fn train_work() -> impl Strategy<Value = TrainWork> {
    let numbers = (finite(), any::<u64>(), any::<u64>());
    (training(), normalization(), grid(), weighting(), numbers).prop_map(
        |(training, normalization, grid, weighting, (clip_norm, weight_max, seed))| TrainWork {
            training,
            normalization,
            grid,
            clip_norm,
            weighting,
            weight_max,
            privacy: Privacy::Off,
            seed,
        },
    )
}

fn work() -> impl Strategy<Value = Work> {
    let evaluate = (loss(), normalization()).prop_map(|(loss, normalization)| EvaluateWork {
        loss,
        normalization,
    });
    prop_oneof![
        Just(Work::Statistics),
        train_work().prop_map(|work| Work::Train(Box::new(work))),
        evaluate.prop_map(Work::Evaluate),
    ]
}

pub(crate) fn plan() -> impl Strategy<Value = RoundPlan> {
    let objects = (object(), object());
    (
        round_key(),
        epoch(),
        objects,
        data(),
        work(),
        any::<[u32; 3]>(),
        trace(),
    )
        .prop_map(
            |(key, epoch, (model, parameters), data, work, numbers, trace)| {
                let [quorum, contributions_max, deadline_ms] = numbers;
                let phase = match work {
                    Work::Statistics => Phase::Statistics,
                    Work::Train(_) => Phase::Train,
                    Work::Evaluate(_) => Phase::Evaluate,
                };
                RoundPlan {
                    key: RoundKey { phase, ..key },
                    epoch,
                    model,
                    parameters,
                    data,
                    work,
                    quorum,
                    contributions_max,
                    deadline_ms,
                    trace,
                }
            },
        )
}

fn statistics() -> impl Strategy<Value = FeatureStatistics> {
    let columns = vec(any::<(u64, u64, i128, i128)>(), TENSORS);
    (any::<u64>(), columns).prop_map(|(rows, columns)| FeatureStatistics {
        rows,
        count: columns.iter().map(|column| column.0).collect(),
        missing: columns.iter().map(|column| column.1).collect(),
        sum: columns.iter().map(|column| column.2).collect(),
        squares: columns.iter().map(|column| column.3).collect(),
    })
}

fn counters() -> impl Strategy<Value = EvaluationCounters> {
    let confusion = (0usize..4).prop_flat_map(|classes| vec(any::<u64>(), classes * classes));
    (any::<(u64, u64, i64, i64, i64)>(), confusion).prop_map(|(numbers, confusion)| {
        let (examples, correct, loss, absolute_error, squared_error) = numbers;
        EvaluationCounters {
            examples,
            correct,
            loss,
            confusion,
            absolute_error,
            squared_error,
        }
    })
}

/// Integers of either width, so that both forms come up.
fn coordinates() -> impl Strategy<Value = Vec<i32>> {
    prop_oneof![
        vec(any::<i32>(), COORDINATES),
        vec(any::<i16>().prop_map(i32::from), COORDINATES),
    ]
}

/// A tensor with its figures.
type Tensor<T> = (Vec<T>, i16, u64);

fn update() -> impl Strategy<Value = Payload> {
    let tensors = vec((coordinates(), any::<i16>(), any::<u64>()), TENSORS);
    (any::<(u64, u64, i64)>(), tensors).prop_map(|((weight, examples, loss), tensors)| {
        let (q, magnitudes, saturated) = unzip(tensors);
        Payload::Update {
            update: ProtectedUpdate::Plain { weight, q },
            metrics: TrainMetrics {
                examples,
                loss,
                magnitudes,
                saturated,
            },
        }
    })
}

fn unzip<T>(tensors: Vec<Tensor<T>>) -> (Vec<Vec<T>>, Vec<i16>, Vec<u64>) {
    let magnitudes = tensors.iter().map(|tensor| tensor.1).collect();
    let saturated = tensors.iter().map(|tensor| tensor.2).collect();
    let values = tensors.into_iter().map(|tensor| tensor.0).collect();
    (values, magnitudes, saturated)
}

pub(crate) fn contribution() -> impl Strategy<Value = Contribution> {
    let payload = prop_oneof![
        statistics().prop_map(Payload::Statistics),
        update(),
        counters().prop_map(Payload::Evaluation),
    ];
    (contribution_key(), payload).prop_map(|(mut key, payload)| {
        key.round.phase = match payload {
            Payload::Statistics(_) => Phase::Statistics,
            Payload::Update { .. } => Phase::Train,
            Payload::Evaluation(_) => Phase::Evaluate,
        };
        Contribution { key, payload }
    })
}

fn update_sum() -> impl Strategy<Value = UpdateSum> {
    let tensors = vec(
        (vec(any::<i64>(), COORDINATES), any::<i16>(), any::<u64>()),
        TENSORS,
    );
    (any::<(u64, u64, u64, i64)>(), tensors).prop_map(|(numbers, tensors)| {
        let (weight, updates, examples, loss) = numbers;
        let (wq, magnitudes, saturated) = unzip(tensors);
        UpdateSum {
            wq,
            weight,
            updates,
            examples,
            loss,
            magnitudes,
            saturated,
        }
    })
}

fn sum() -> impl Strategy<Value = Sum> {
    prop_oneof![
        statistics().prop_map(Sum::Statistics),
        update_sum().prop_map(Sum::Update),
        counters().prop_map(Sum::Evaluation),
    ]
}

fn absences() -> impl Strategy<Value = Vec<Absence>> {
    btree_map(member(), reason(), 0..4).prop_map(|absent: BTreeMap<MemberId, Reason>| {
        let absence = |(device, reason)| Absence { device, reason };
        absent.into_iter().map(absence).collect()
    })
}

pub(crate) fn partial() -> impl Strategy<Value = PartialSum> {
    let members = (btree_set(member(), 0..5), absences());
    (
        round_key(),
        region(),
        epoch(),
        sum(),
        members,
        any::<(u64, u64)>(),
    )
        .prop_map(
            |(key, region, epoch, sum, (contributors, absent), (edge_up_bytes, down_bytes))| {
                let contributors: BTreeSet<MemberId> = contributors;
                let phase = match sum {
                    Sum::Statistics(_) => Phase::Statistics,
                    Sum::Update(_) => Phase::Train,
                    Sum::Evaluation(_) => Phase::Evaluate,
                };
                PartialSum {
                    key: RoundKey { phase, ..key },
                    region,
                    epoch,
                    sum,
                    contributors: contributors.into_iter().collect(),
                    absent,
                    edge_up_bytes,
                    down_bytes,
                }
            },
        )
}

fn server() -> impl Strategy<Value = ServerOptimizer> {
    let rule = select(vec![
        AdaptiveRule::Adagrad,
        AdaptiveRule::Adam,
        AdaptiveRule::Yogi,
    ]);
    prop_oneof![
        finite().prop_map(|learning_rate| ServerOptimizer::FedAvg { learning_rate }),
        (finite(), finite()).prop_map(|(learning_rate, momentum)| ServerOptimizer::FedAvgM {
            learning_rate,
            momentum,
        }),
        (rule, finite(), finite(), finite(), finite()).prop_map(
            |(rule, learning_rate, beta1, beta2, tau)| ServerOptimizer::Adaptive {
                rule,
                learning_rate,
                beta1,
                beta2,
                tau,
            }
        ),
    ]
}

fn job_spec() -> impl Strategy<Value = JobSpec> {
    let of = (job(), TEXT, training(), data(), server());
    let choices = (width(), weighting(), finite(), any::<bool>());
    (of, choices, any::<[u32; 4]>(), any::<[u64; 2]>()).prop_map(
        |((job, model, training, data, server), (grid, weighting, clip_norm, randomize), a, b)| {
            JobSpec {
                job,
                model,
                rounds: a[0],
                quorum: a[1],
                deadline_ms: a[2],
                seed: b[0],
                randomize,
                training,
                data,
                grid,
                clip_norm,
                weighting,
                weight_max: b[1],
                contributions_max: a[3],
                server,
            }
        },
    )
}

fn phase_result() -> impl Strategy<Value = PhaseResult> {
    prop_oneof![
        (any::<u64>(), normalization()).prop_map(|(rows, normalization)| PhaseResult::Statistics {
            rows,
            normalization
        }),
        (object(), option::of(object()), grid(), any::<u64>(), wide()).prop_map(
            |(parameters, moments, grid, examples, loss)| PhaseResult::Train {
                parameters,
                moments,
                grid,
                examples,
                loss,
            }
        ),
        counters().prop_map(PhaseResult::Evaluate),
    ]
}

fn outcome_of_round() -> impl Strategy<Value = RoundOutcome> {
    select(vec![RoundOutcome::Merged, RoundOutcome::NoQuorum])
}

fn region_absences() -> impl Strategy<Value = Vec<RegionAbsence>> {
    let absence =
        (region(), reason()).prop_map(|(region, reason)| RegionAbsence { region, reason });
    vec(absence, 0..4)
}

fn summary() -> impl Strategy<Value = RegionSummary> {
    (any::<u32>(), absences(), any::<[u64; 3]>()).prop_map(|(contributors, absent, bytes)| {
        let [edge_up_bytes, fog_up_bytes, down_bytes] = bytes;
        RegionSummary {
            contributors,
            absent,
            edge_up_bytes,
            fog_up_bytes,
            down_bytes,
        }
    })
}

pub(crate) fn log_entry() -> impl Strategy<Value = LogEntry> {
    let at = any::<u64>;
    let submitted = (
        job_spec(),
        object(),
        object(),
        vec(any::<u64>(), TENSORS),
        at(),
    );
    prop_oneof![
        submitted.prop_map(
            |(spec, model, parameters, tensors, at_us)| LogEntry::Submitted {
                spec: Box::new(spec),
                model,
                parameters,
                tensors,
                at_us,
            }
        ),
        (epoch(), at()).prop_map(|(epoch, at_us)| LogEntry::Led { epoch, at_us }),
        (plan(), vec(region(), 0..4), at()).prop_map(|(plan, regions, at_us)| LogEntry::Opened {
            plan: Box::new(plan),
            regions,
            at_us,
        }),
        (round_key(), region(), digest(), summary(), at()).prop_map(
            |(key, region, digest, summary, at_us)| LogEntry::PartialAccepted {
                key,
                region,
                digest,
                summary,
                at_us,
            }
        ),
        (round_key(), outcome_of_round(), region_absences(), at()).prop_map(
            |(key, outcome, absent, at_us)| LogEntry::Closed {
                key,
                outcome,
                absent,
                at_us
            }
        ),
        (round_key(), phase_result(), at()).prop_map(|(key, result, at_us)| LogEntry::Settled {
            key,
            result: Box::new(result),
            at_us,
        }),
        (select(vec![JobEnd::Finished, JobEnd::Stopped]), at())
            .prop_map(|(how, at_us)| LogEntry::Ended { how, at_us }),
    ]
}

fn admission() -> impl Strategy<Value = Admission> {
    prop_oneof![
        Just(Admission::Admitted),
        reason().prop_map(Admission::Rejected)
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Counted), reason().prop_map(Outcome::Excluded)]
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    (contribution_key(), digest(), admission()).prop_map(|(key, digest, admission)| Receipt {
        key,
        digest,
        admission,
    })
}

pub(crate) fn settled_notice() -> impl Strategy<Value = SettledNotice> {
    (contribution_key(), outcome()).prop_map(|(key, outcome)| SettledNotice { key, outcome })
}

pub(crate) fn round_settled() -> impl Strategy<Value = RoundSettled> {
    let accepted = vec((region(), digest()), 0..4);
    let windows = vec((region(), any::<(u64, u64)>()), 0..4);
    (
        round_key(),
        outcome_of_round(),
        accepted,
        region_absences(),
        windows,
    )
        .prop_map(|(key, outcome, accepted, absent, windows)| RoundSettled {
            key,
            outcome,
            accepted,
            absent,
            windows,
        })
}

pub(crate) fn roster_entry() -> impl Strategy<Value = RosterEntry> {
    let role = select(vec![Role::Device, Role::Fog]);
    (
        any::<u64>(),
        member(),
        role,
        region(),
        any::<([u8; 32], bool)>(),
    )
        .prop_map(
            |(number, member, role, region, (key, removed))| RosterEntry {
                number,
                member,
                role,
                region,
                key,
                removed,
            },
        )
}

pub(crate) fn want() -> impl Strategy<Value = Want> {
    // Gaps and lengths, both of at least one, make ranges that neither touch nor overlap.
    let steps = vec((1u32..1000, 1u32..1000), 0..5);
    (digest(), steps).prop_map(|(digest, steps)| {
        let mut next = 0;
        let ranges = steps.into_iter().map(|(gap, length)| {
            let start = next + gap;
            next = start + length;
            (start, next)
        });
        Want {
            digest,
            ranges: ranges.collect(),
        }
    })
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let versions = any::<(u32, u32)>().prop_map(|(min, max)| VersionRange { min, max });
    let outstanding = vec(contribution_key(), 0..4);
    (
        versions,
        TEXT,
        TEXT,
        outstanding,
        epoch(),
        vec(want(), 0..3),
    )
        .prop_map(
            |(versions, agent, runtime, outstanding, epoch, wants)| Hello {
                versions,
                agent,
                runtime,
                outstanding,
                epoch,
                wants,
            },
        )
}

pub(crate) fn welcome() -> impl Strategy<Value = Welcome> {
    let answer = prop_oneof![
        Just(Answer::Admitted),
        reason().prop_map(Answer::Rejected),
        outcome().prop_map(Answer::Settled),
        Just(Answer::SendAgain),
        Just(Answer::Unknown),
    ];
    (any::<(i64, u32)>(), vec((contribution_key(), answer), 0..4)).prop_map(
        |((fog_time_us, version), answers)| Welcome {
            fog_time_us,
            version,
            answers,
        },
    )
}

pub(crate) fn beat() -> impl Strategy<Value = Beat> {
    (
        any::<(i64, u32)>(),
        option::of(round_key()),
        option::of(reason()),
    )
        .prop_map(|((sent_us, outstanding), working_on, declining)| Beat {
            sent_us,
            working_on,
            outstanding,
            declining,
        })
}

pub(crate) fn fog_beat() -> impl Strategy<Value = FogBeat> {
    (
        region(),
        any::<(i64, [u32; 4])>(),
        epoch(),
        option::of(round_key()),
    )
        .prop_map(|(region, (sent_us, counts), epoch, open)| FogBeat {
            region,
            sent_us,
            epoch,
            devices_online: counts[0],
            devices_known: counts[1],
            partials_waiting: counts[2],
            open,
            admitted: counts[3],
        })
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    let chunk_bytes = 1..=limits::CHUNK_BYTES_MAX as u32;
    (digest(), chunk_bytes, vec(digest(), 0..6), any::<u32>()).prop_map(
        |(digest, chunk_bytes, chunks, rest)| {
            let last = u64::from(rest % chunk_bytes + 1);
            let before = chunks.len().saturating_sub(1) as u64 * u64::from(chunk_bytes);
            let bytes = if chunks.is_empty() { 0 } else { before + last };
            Manifest {
                object: ObjectRef { digest, bytes },
                chunk_bytes,
                chunks,
            }
        },
    )
}

pub(crate) fn decline() -> impl Strategy<Value = Decline> {
    (round_key(), reason(), TEXT).prop_map(|(key, reason, detail)| Decline {
        key,
        reason,
        detail,
    })
}

fn attributes() -> impl Strategy<Value = Vec<(String, AttributeValue)>> {
    let value = prop_oneof![
        any::<i64>().prop_map(AttributeValue::I64),
        wide().prop_map(AttributeValue::F64),
        any::<bool>().prop_map(AttributeValue::Bool),
        TEXT.prop_map(AttributeValue::Text),
    ];
    vec((TEXT, value), 0..4)
}

fn span() -> impl Strategy<Value = WireSpan> {
    let event =
        ("[a-z.]{0,32}", any::<i64>(), attributes()).prop_map(|(name, at_us, attributes)| {
            SpanEvent {
                name,
                at_us,
                attributes,
            }
        });
    let time = any::<(i32, u32)>();
    (
        "[a-z ]{0,32}",
        time,
        attributes(),
        option::of(TEXT),
        vec(event, 0..3),
    )
        .prop_map(
            |(name, (start, length), attributes, error, events)| WireSpan {
                name,
                start_us: start.into(),
                end_us: i64::from(start) + i64::from(length),
                attributes,
                error,
                events,
            },
        )
}

pub(crate) fn span_batch() -> impl Strategy<Value = SpanBatch> {
    (round_key(), any::<i64>(), vec(span(), 0..4)).prop_map(|(key, stamped_us, spans)| SpanBatch {
        key,
        stamped_us,
        spans,
    })
}

pub(crate) fn parameters() -> impl Strategy<Value = ParameterObject> {
    let tensor = vec(0u64..4, 0..3).prop_flat_map(|shape| {
        let coordinates = shape.iter().product::<u64>() as usize;
        (TEXT, Just(shape), vec(finite(), coordinates))
    });
    vec(tensor, TENSORS).prop_map(|tensors| {
        let mut object = ParameterObject::default();
        for (name, shape, tensor) in tensors {
            object.names.push(name);
            object.shapes.push(shape);
            object.tensors.push(tensor);
        }
        object
    })
}

pub(crate) fn moments() -> impl Strategy<Value = MomentsObject> {
    let tensors = || vec(vec(finite(), COORDINATES), TENSORS);
    (tensors(), tensors()).prop_map(|(first, second)| MomentsObject { first, second })
}

pub(crate) fn snapshot() -> impl Strategy<Value = SnapshotObject> {
    (partial(), digest()).prop_map(|(partial, digest)| {
        let admitted = partial
            .contributors
            .iter()
            .map(|device| (device.clone(), digest));
        SnapshotObject {
            admitted: admitted.collect(),
            partial,
        }
    })
}

pub(crate) fn envelopes() -> impl Strategy<Value = EnvelopeList> {
    vec(vec(any::<u8>(), 0..20), 0..4).prop_map(|envelopes| EnvelopeList { envelopes })
}
