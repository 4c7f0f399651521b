//! Arbitrary contributions, sums, log entries and objects.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::{
    Absence, Contribution, EvaluationCounters, FeatureStatistics, JobEnd, JobFailure, LogEntry,
    MemberId, PartialSum, Payload, Phase, PhaseResult, ProtectedUpdate, Reason, RegionAbsence,
    RegionSummary, RoundKey, RoundOutcome, Sum, TrainMetrics, UpdateSum,
};
use fl_wire::{MomentsObject, ParameterObject, SnapshotObject};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::ids::*;
use super::plan::*;

pub(super) fn statistics() -> impl Strategy<Value = FeatureStatistics> {
    let columns = vec(any::<(u64, u64, i128, i128)>(), TENSORS);
    (any::<u64>(), columns).prop_map(|(rows, columns)| FeatureStatistics {
        rows,
        count: columns.iter().map(|column| column.0).collect(),
        missing: columns.iter().map(|column| column.1).collect(),
        sum: columns.iter().map(|column| column.2).collect(),
        squares: columns.iter().map(|column| column.3).collect(),
    })
}

pub(super) fn counters() -> impl Strategy<Value = EvaluationCounters> {
    let confusion = (0usize..4).prop_flat_map(|classes| vec(any::<u64>(), classes * classes));
    (any::<(u64, u64, i128, i128, i128)>(), confusion).prop_map(|(numbers, confusion)| {
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
pub(super) fn coordinates() -> impl Strategy<Value = Vec<i32>> {
    prop_oneof![
        vec(any::<i32>(), COORDINATES),
        vec(any::<i16>().prop_map(i32::from), COORDINATES),
    ]
}

/// A tensor with its figures.
pub(super) type Tensor<T> = (Vec<T>, i16, u64);

pub(super) fn update() -> impl Strategy<Value = Payload> {
    let tensors = vec((coordinates(), any::<i16>(), any::<u64>()), TENSORS);
    (any::<(u64, u64, i128)>(), tensors).prop_map(|((weight, examples, loss), tensors)| {
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

pub(super) fn unzip<T>(tensors: Vec<Tensor<T>>) -> (Vec<Vec<T>>, Vec<i16>, Vec<u64>) {
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

pub(super) fn update_sum() -> impl Strategy<Value = UpdateSum> {
    let tensors = vec(
        (vec(any::<i64>(), COORDINATES), any::<i16>(), any::<u64>()),
        TENSORS,
    );
    (any::<(u64, u64, u64, i128)>(), tensors).prop_map(|(numbers, tensors)| {
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

pub(super) fn sum() -> impl Strategy<Value = Sum> {
    prop_oneof![
        statistics().prop_map(Sum::Statistics),
        update_sum().prop_map(Sum::Update),
        counters().prop_map(Sum::Evaluation),
    ]
}

pub(super) fn absences() -> impl Strategy<Value = Vec<Absence>> {
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

pub(super) fn phase_result() -> impl Strategy<Value = PhaseResult> {
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

pub(super) fn outcome_of_round() -> impl Strategy<Value = RoundOutcome> {
    select(vec![RoundOutcome::Merged, RoundOutcome::NoQuorum])
}

pub(super) fn region_absences() -> impl Strategy<Value = Vec<RegionAbsence>> {
    let absence =
        (region(), reason()).prop_map(|(region, reason)| RegionAbsence { region, reason });
    vec(absence, 0..4)
}

const ENDS: [JobEnd; 4] = [
    JobEnd::Finished,
    JobEnd::Stopped,
    JobEnd::Failed(JobFailure::Diverged),
    JobEnd::Failed(JobFailure::Unmergeable),
];

pub(super) fn summary() -> impl Strategy<Value = RegionSummary> {
    (any::<[u32; 2]>(), absences(), any::<[u64; 3]>()).prop_map(|(devices, absent, bytes)| {
        let [contributors, absent_more] = devices;
        let [edge_up_bytes, fog_up_bytes, down_bytes] = bytes;
        RegionSummary {
            contributors,
            absent,
            edge_up_bytes,
            fog_up_bytes,
            down_bytes,
            absent_more,
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
        (select(ENDS.to_vec()), at()).prop_map(|(how, at_us)| LogEntry::Ended { how, at_us }),
    ]
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
