//! Reads the rows of a round, which are those that it began with.

use std::sync::Arc;
use std::time::Duration;

use fl_model::{DataSpec, Inputs, Reason, RoundPlan, TensorSource};

use super::HeldData;
use crate::data::{DataError, LocalData};
use crate::ledger::Snapshot;
use crate::run::rows::{Extent, Fixed, RoundRows};
use crate::say;
use crate::work::Failure;

/// Rows that change while they are read are taken so many times at most.
const TAKES_MAX: u32 = 3;

/// Between two of them.
const TAKE_AGAIN: Duration = Duration::from_millis(500);

/// Fixes the rows of a round and reads them, again where somebody writes them meanwhile. Images go on then, each of
/// which is an example of its own; arrays do not.
pub(super) fn fix_and_read(
    rows: &mut RoundRows,
    held: Option<&HeldData>,
    plan: &RoundPlan,
) -> Result<(Fixed, Arc<LocalData>), Failure> {
    let (job, round) = (&plan.key.job, plan.key.round.0);
    for more in (0..TAKES_MAX).rev() {
        let mut fixed = rows.fix(job, round, &plan.data)?;
        if let Some(held) = held
            && fixed.stamp.is_some()
            && held.stamp == fixed.stamp
        {
            return Ok((fixed, held.data.clone()));
        }
        let data = load(rows, fixed.extent, plan);
        if !rows.is_torn() {
            return Ok((fixed, data?));
        }
        if more == 0 && is_of_images(&plan.data) {
            fixed.stamp = None;
            return Ok((fixed, data?));
        }
        if more > 0 {
            std::thread::sleep(TAKE_AGAIN);
        }
    }
    Err(Failure::new(
        Reason::DataUnusable,
        format!(
            "{} is being written: it changed each of {TAKES_MAX} times that it was read, so that examples and labels \
             may not belong together. Write it beside and put it in place as a whole, by a rename or a symbolic link",
            rows.place().display()
        ),
    ))
}

fn is_of_images(spec: &DataSpec) -> bool {
    match &spec.inputs {
        Inputs::Tensors(inputs) => inputs
            .iter()
            .any(|input| matches!(input.source, TensorSource::Images(_))),
        Inputs::Table(_) => false,
    }
}

fn load(rows: &RoundRows, extent: Extent, plan: &RoundPlan) -> Result<Arc<LocalData>, DataError> {
    let data = rows.load(extent, &plan.data)?;
    let command = rows.counts().map_or_else(String::new, |counts| {
        format!(
            "; since its start this agent kept {} rows of the command, left out {} lines and started it {} times again",
            counts.received(),
            counts.refused(),
            counts.restarts()
        )
    });
    tracing::info!("{}{command}", say::rows(&rows.place(), &data));
    Ok(Arc::new(data))
}

/// A round is of the rows that it began with: where they are not to be had any more, after a restart in its middle,
/// it is declined.
pub(super) fn data_again(
    rows: &mut RoundRows,
    noted: &Snapshot,
    plan: &RoundPlan,
) -> Result<Arc<LocalData>, Failure> {
    let (job, round) = (&plan.key.job, plan.key.round.0);
    rows.is_of(job, round, &plan.data);
    let extent = noted.extent.unwrap_or((0, u64::MAX));
    match load(rows, extent, plan) {
        Ok(data) if data.digest.to_string() == noted.sha256 => Ok(data),
        Err(error) if error.is_of_reading() => Err(error.into()),
        // They were of use when the round began.
        _ => Err(Failure::new(
            Reason::DataUnusable,
            format!(
                "{} has changed since round {round} began and this agent was started again: it takes part from the \
                 next round on",
                rows.place().display()
            ),
        )),
    }
}
