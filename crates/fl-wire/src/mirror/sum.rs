//! Partial sums.

use fl_model::{
    Absence, DeviceId, Epoch, EvaluationCounters, FeatureStatistics, PartialSum, Phase, Reason,
    RegionId, RoundKey, Sum, UpdateSum,
};

use super::same_length;
use crate::cbor::{mirror_enum, mirror_struct};
use crate::error::WireError;

mirror_struct! {
    UpdateSum, "sum of updates", UpdateSumMirror {
        wq: Vec<Vec<i64>>,
        weight: u64,
        updates: u64,
        examples: u64,
        loss: i128,
        magnitudes: Vec<i16>,
        saturated: Vec<u64>,
    } check check_update_sum
}

fn check_update_sum(sum: &UpdateSum) -> Result<(), WireError> {
    let tensors = sum.wq.len();
    same_length("magnitudes of a sum", tensors, sum.magnitudes.len())?;
    same_length(
        "saturated coordinates of a sum",
        tensors,
        sum.saturated.len(),
    )
}

mirror_enum! {
    Sum, "sum", SumMirror {
        Statistics(FeatureStatistics),
        Update(UpdateSum),
        Evaluation(EvaluationCounters),
    }
}

mirror_struct! {
    Absence, "absence", AbsenceMirror {
        device: DeviceId,
        reason: Reason,
    }
}

mirror_struct! {
    PartialSum, "partial sum", PartialSumMirror {
        key: RoundKey,
        region: RegionId,
        epoch: Epoch,
        sum: Sum,
        contributors: Vec<DeviceId>,
        absent: Vec<Absence>,
        edge_up_bytes: u64,
        down_bytes: u64,
    } check check_partial
}

fn check_partial(partial: &PartialSum) -> Result<(), WireError> {
    let carries = match partial.sum {
        Sum::Statistics(_) => Phase::Statistics,
        Sum::Update(_) => Phase::Train,
        Sum::Evaluation(_) => Phase::Evaluate,
    };
    if carries != partial.key.phase {
        let problem = format!("a partial of {} carries {carries}", partial.key);
        return Err(WireError::value("partial sum", problem));
    }
    ascending("contributors", &partial.contributors)?;
    ascending("absences", &partial.absent)
}

/// Sorted, each once: so that a set has one encoding and nobody counts twice.
fn ascending<T: Ord>(what: &'static str, list: &[T]) -> Result<(), WireError> {
    if list.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(WireError::value(
        what,
        "they are not sorted, or one comes twice",
    ))
}
