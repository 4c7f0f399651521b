//! Contributions and the answers to them.

use fl_model::{
    Admission, Contribution, ContributionKey, DeviceId, EvaluationCounters, FeatureStatistics,
    Outcome, Payload, Phase, ProtectedUpdate, Reason, RoundKey, TrainMetrics,
};

use super::same_length;
use crate::cbor::{mirror_enum, mirror_struct};
use crate::error::WireError;

mirror_struct! {
    ContributionKey, "contribution key", ContributionKeyMirror {
        round: RoundKey,
        device: DeviceId,
    }
}

mirror_enum! {
    Admission, "admission", AdmissionMirror { Admitted, Rejected(Reason) }
}

mirror_enum! {
    Outcome, "outcome", OutcomeMirror { Counted, Excluded(Reason) }
}

mirror_struct! {
    FeatureStatistics, "statistics", FeatureStatisticsMirror {
        rows: u64,
        count: Vec<u64>,
        missing: Vec<u64>,
        sum: Vec<i128>,
        squares: Vec<i128>,
    } check check_statistics
}

fn check_statistics(statistics: &FeatureStatistics) -> Result<(), WireError> {
    let columns = statistics.count.len();
    same_length(
        "missing values of the statistics",
        columns,
        statistics.missing.len(),
    )?;
    same_length("sums of the statistics", columns, statistics.sum.len())?;
    same_length(
        "squares of the statistics",
        columns,
        statistics.squares.len(),
    )
}

mirror_struct! {
    EvaluationCounters, "evaluation counters", EvaluationCountersMirror {
        examples: u64,
        correct: u64,
        loss: i128,
        confusion: Vec<u64>,
        absolute_error: i128,
        squared_error: i128,
    } check check_counters
}

fn check_counters(counters: &EvaluationCounters) -> Result<(), WireError> {
    let cells = counters.confusion.len();
    let classes = cells.isqrt();
    if classes * classes == cells {
        return Ok(());
    }
    let problem = format!("{cells} cells are not the square of a number of classes");
    Err(WireError::value("confusion matrix", problem))
}

mirror_enum! {
    ProtectedUpdate, "update", ProtectedUpdateMirror {
        Plain { weight: u64, q: Vec<Vec<i32>> },
    }
}

mirror_struct! {
    TrainMetrics, "training figures", TrainMetricsMirror {
        examples: u64,
        loss: i128,
        magnitudes: Vec<i16>,
        saturated: Vec<u64>,
    } check check_metrics
}

fn check_metrics(metrics: &TrainMetrics) -> Result<(), WireError> {
    let tensors = metrics.magnitudes.len();
    same_length("saturated coordinates", tensors, metrics.saturated.len())
}

mirror_enum! {
    Payload, "payload", PayloadMirror {
        Statistics(FeatureStatistics),
        Update { update: ProtectedUpdate, metrics: TrainMetrics },
        Evaluation(EvaluationCounters),
    }
}

mirror_struct! {
    Contribution, "contribution", ContributionMirror {
        key: ContributionKey,
        payload: Payload,
    } check check_contribution
}

fn check_contribution(contribution: &Contribution) -> Result<(), WireError> {
    let carries = match &contribution.payload {
        Payload::Statistics(_) => Phase::Statistics,
        Payload::Update { update, metrics } => {
            let ProtectedUpdate::Plain { q, .. } = update;
            same_length("training figures", q.len(), metrics.magnitudes.len())?;
            Phase::Train
        }
        Payload::Evaluation(_) => Phase::Evaluate,
    };
    if carries == contribution.key.round.phase {
        return Ok(());
    }
    let problem = format!("a contribution to {} carries {carries}", contribution.key);
    Err(WireError::value("contribution", problem))
}
