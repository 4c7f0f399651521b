//! Plans and contributions of a small job, and effects as lines.

use std::collections::BTreeSet;

use fl_aggregate::ExactSum;
use fl_model::{
    Admission, Contribution, ContributionKey, DataSpec, DeviceId, Digest, Epoch,
    EvaluationCounters, FeatureSpec, Grid, GridWidth, JobId, JobSpec, Label, Loss, Normalization,
    ObjectRef, Outcome, PartialSum, Payload, Phase, Privacy, ProtectedUpdate, RegionId, RoundKey,
    RoundNumber, RoundPlan, Schedule, ServerOptimizer, Split, TraceContext, TrainMetrics,
    TrainWork, TrainingSpec, Weighting, Work,
};
use fl_round::Answer;

pub(crate) const TENSORS: [usize; 1] = [2];
pub(crate) const WEIGHT_MAX: u64 = 10;
pub(crate) const DEADLINE_MS: u32 = 1_000;

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub(crate) fn devices(names: &str) -> BTreeSet<DeviceId> {
    names.split_whitespace().map(device).collect()
}

pub(crate) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(crate) fn job(name: &str) -> JobId {
    JobId::new(name).unwrap()
}

/// `3/train` of job `j`.
pub(crate) fn key(text: &str) -> RoundKey {
    let (round, phase) = text.split_once('/').unwrap();
    RoundKey {
        job: job("j"),
        round: RoundNumber(round.parse().unwrap()),
        phase: *Phase::ALL.iter().find(|p| p.as_str() == phase).unwrap(),
    }
}

pub(crate) fn contribution_key(device_name: &str, round: &str) -> ContributionKey {
    ContributionKey {
        round: key(round),
        device: device(device_name),
    }
}

pub(crate) fn object(content: &str) -> ObjectRef {
    ObjectRef::to(content.as_bytes())
}

pub(crate) fn spec() -> JobSpec {
    JobSpec {
        job: job("j"),
        model: "m".into(),
        rounds: 2,
        quorum: 2,
        deadline_ms: DEADLINE_MS,
        seed: 1,
        randomize: false,
        options: fl_model::ModelOptions::PLAIN,
        schedule: Schedule::default(),
        training: TrainingSpec {
            batch_size: 1,
            ..TrainingSpec::plain(Loss::MeanSquaredError, 0.1)
        },
        data: DataSpec {
            inputs: FeatureSpec {
                features: vec![],
                clip: 5.0,
            }
            .into(),
            label: Label::Value { column: "y".into() },
            split: Split::Tail { test_fraction: 0.5 },
        },
        grid: GridWidth::W16,
        clip_norm: 1.0,
        weighting: Weighting::Examples,
        weight_max: WEIGHT_MAX,
        contributions_max: 4,
        server: ServerOptimizer::FedAvg { learning_rate: 1.0 },
    }
}

pub(crate) fn normalization() -> Normalization {
    Normalization {
        mean: vec![],
        scale: vec![],
    }
}

/// A train plan.
pub(crate) fn plan(round: &str, epoch: u64) -> Box<RoundPlan> {
    let spec = spec();
    let work = TrainWork {
        training: spec.training.clone(),
        normalization: normalization(),
        grid: Grid::for_clip_norm(spec.grid, spec.clip_norm, TENSORS.len()),
        clip_norm: spec.clip_norm,
        weighting: spec.weighting,
        weight_max: spec.weight_max,
        privacy: Privacy::Off,
        seed: spec.seed,
    };
    Box::new(RoundPlan {
        key: key(round),
        epoch: Epoch(epoch),
        model: object("model"),
        options: fl_model::ModelOptions::PLAIN,
        draw: None,
        parameters: object("parameters"),
        data: spec.data,
        work: Work::Train(Box::new(work)),
        quorum: spec.quorum,
        contributions_max: spec.contributions_max,
        deadline_ms: DEADLINE_MS,
        trace: TraceContext::default(),
        region_contributions_max: 3,
    })
}

pub(crate) fn update(weight: u64, q: Vec<i32>) -> Payload {
    Payload::Update {
        update: ProtectedUpdate::Plain { weight, q: vec![q] },
        metrics: TrainMetrics {
            examples: weight,
            loss: 1,
            magnitudes: vec![0],
            saturated: vec![0],
        },
    }
}

pub(crate) fn evaluation() -> Payload {
    Payload::Evaluation(EvaluationCounters {
        examples: 1,
        ..EvaluationCounters::default()
    })
}

pub(crate) fn contribution(device_name: &str, round: &str, payload: Payload) -> Box<Contribution> {
    Box::new(Contribution {
        key: contribution_key(device_name, round),
        payload,
    })
}

/// A partial over an update of weight 1 per contributor, answering `plan`.
pub(crate) fn partial(plan: &RoundPlan, from: &str, contributors: &str) -> PartialSum {
    let contributors: Vec<_> = contributors.split_whitespace().map(device).collect();
    let mut sum = ExactSum::empty(plan, &TENSORS);
    for _ in &contributors {
        let payload = match plan.work {
            Work::Statistics => Payload::Statistics(fl_model::FeatureStatistics::empty(0)),
            Work::Train(_) => update(1, vec![1, 2]),
            Work::Evaluate(_) => evaluation(),
        };
        sum.add(&payload).unwrap();
    }
    PartialSum {
        key: plan.key.clone(),
        region: region(from),
        epoch: plan.epoch,
        sum: sum.into_sum(),
        contributors,
        absent: vec![],
        edge_up_bytes: 0,
        down_bytes: 0,
    }
}

pub(crate) fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

/// `1/train`, without its job.
pub(crate) fn phase(key: &RoundKey) -> String {
    format!("{}/{}", key.round, key.phase)
}

pub(crate) fn admission(admission: Admission) -> String {
    match admission {
        Admission::Admitted => "admitted".into(),
        Admission::Rejected(reason) => format!("rejected {reason}"),
    }
}

pub(crate) fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Counted => "counted".into(),
        Outcome::Excluded(reason) => format!("excluded {reason}"),
    }
}

pub(crate) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Admitted => "admitted".into(),
        Answer::Rejected(reason) => format!("rejected {reason}"),
        Answer::Settled(of) => outcome(*of),
        Answer::SendAgain => "send again".into(),
        Answer::Unknown => "unknown".into(),
    }
}
