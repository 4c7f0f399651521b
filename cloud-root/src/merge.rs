//! What a merged sum gives: the next model, the scale of the inputs, or how well the model does.

use anyhow::Context as _;
use fl_aggregate::{Moments, ServerStep};
use fl_model::{FixedPoint, JobSpec, ObjectRef, PhaseResult, Sum, UpdateSum, Work};
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
            grid: work
                .grid
                .adapted(&sum.magnitudes, &sum.saturated, &coordinates),
            examples: sum.examples,
            loss,
        },
        objects,
    })
}
