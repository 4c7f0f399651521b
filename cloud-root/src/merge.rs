//! What a merged sum gives: the next model, the scale of the inputs, or how well the model does.

use anyhow::Context as _;
use fl_aggregate::{Moments, ServerStep, StepError};
use fl_model::{FixedPoint, JobFailure, JobSpec, ObjectRef, PhaseResult, Sum, UpdateSum, Work};
use fl_round::MergeInput;
use fl_wire::{Encoded as _, MomentsObject, ParameterObject};

/// The result of a phase, and the objects that it names.
pub(crate) struct Merged {
    /// What goes into the log.
    pub(crate) result: PhaseResult,
    /// What has to be in the object store before.
    pub(crate) objects: Vec<Vec<u8>>,
}

/// Merges a phase. `parameters` and `moments` are the objects that the plan and the input name.
pub(crate) fn merge(
    spec: &JobSpec,
    input: &MergeInput,
    parameters: Option<&[u8]>,
    moments: Option<&[u8]>,
) -> anyhow::Result<Merged> {
    let plain = |result| Merged {
        result,
        objects: Vec::new(),
    };
    Ok(match &input.sum {
        Sum::Statistics(statistics) => plain(PhaseResult::Statistics {
            rows: statistics.rows,
            normalization: statistics.normalization(&spec.data.inputs.one_hot()),
        }),
        Sum::Evaluation(counters) => plain(PhaseResult::Evaluate(counters.clone())),
        Sum::Update(sum) => {
            let parameters = parameters.context("the merge needs the parameters of the round")?;
            step(spec, input, sum, parameters, moments)?
        }
    })
}

/// Why no later try would do better; none where one may.
pub(crate) fn failure(error: &anyhow::Error) -> Option<JobFailure> {
    match error.downcast_ref()? {
        StepError::NotFinite => Some(JobFailure::Diverged),
        StepError::NoWeight | StepError::Shape => Some(JobFailure::Unmergeable),
    }
}

fn step(
    spec: &JobSpec,
    input: &MergeInput,
    sum: &UpdateSum,
    parameters: &[u8],
    moments: Option<&[u8]>,
) -> anyhow::Result<Merged> {
    let Work::Train(work) = &input.plan.work else {
        anyhow::bail!("a sum of updates came of a plan that asked for none");
    };
    let before = ParameterObject::decode(parameters)?;
    let moments = match moments {
        Some(bytes) => {
            let object = MomentsObject::decode(bytes)?;
            Moments {
                first: object.first,
                second: object.second,
            }
        }
        None => Moments::default(),
    };
    let step = ServerStep::take(&spec.server, &before.tensors, &moments, sum, &work.grid)?;
    let coordinates: Vec<u64> = before
        .tensors
        .iter()
        .map(|tensor| tensor.len() as u64 * sum.updates)
        .collect();
    let next = ParameterObject {
        tensors: step.parameters,
        ..before
    };
    let mut objects = vec![next.encode()?];
    let next_parameters = ObjectRef::to(&objects[0]);
    let has_moments = !(step.moments.first.is_empty() && step.moments.second.is_empty());
    if has_moments {
        let object = MomentsObject {
            first: step.moments.first,
            second: step.moments.second,
        };
        objects.push(object.encode()?);
    }
    let loss = sum.loss as f64 / FixedPoint::LOSS_STEPS / sum.examples.max(1) as f64;
    Ok(Merged {
        result: PhaseResult::Train {
            parameters: next_parameters,
            moments: has_moments.then(|| ObjectRef::to(&objects[1])),
            grid: work.grid.adapted(
                work.clip_norm,
                &sum.magnitudes,
                &sum.saturated,
                &coordinates,
            ),
            examples: sum.examples,
            loss,
        },
        objects,
    })
}

#[cfg(test)]
mod tests {
    use fl_model::{Epoch, Phase, Privacy, TrainWork, UpdateSum};

    use super::*;
    use crate::testing::{plan, spec};

    #[test]
    fn a_model_that_goes_to_infinity_is_no_error_to_try_again() {
        let spec = spec();
        let work = TrainWork {
            training: spec.training.clone(),
            normalization: fl_model::Normalization {
                mean: Vec::new(),
                scale: Vec::new(),
            },
            grid: fl_model::Grid::for_clip_norm(spec.grid, 1e30, 1),
            clip_norm: spec.clip_norm,
            weighting: spec.weighting,
            weight_max: spec.weight_max,
            privacy: Privacy::Off,
            seed: 1,
        };
        let mut plan = plan();
        plan.key.phase = Phase::Train;
        plan.epoch = Epoch(1);
        plan.work = Work::Train(Box::new(work));
        let input = |wq: Vec<i64>| MergeInput {
            plan: Box::new(plan.clone()),
            sum: Sum::Update(UpdateSum {
                magnitudes: vec![0],
                saturated: vec![0],
                wq: vec![wq],
                weight: 1,
                updates: 1,
                examples: 1,
                loss: 0,
            }),
            moments: None,
        };
        let parameters = ParameterObject {
            names: vec!["w".into()],
            shapes: vec![vec![1]],
            tensors: vec![vec![f32::MAX]],
        };
        let parameters = parameters.encode().unwrap();
        let check = |wq: Vec<i64>, expected: Option<JobFailure>| {
            let merged = merge(&spec, &input(wq), Some(&parameters), None);
            assert_eq!(merged.err().and_then(|error| failure(&error)), expected);
        };
        check(vec![0], None);
        check(vec![i64::MAX], Some(JobFailure::Diverged));
        check(vec![0, 0], Some(JobFailure::Unmergeable));
        let missing = merge(&spec, &input(vec![0]), None, None).err().unwrap();
        assert_eq!(failure(&missing), None);
    }
}
