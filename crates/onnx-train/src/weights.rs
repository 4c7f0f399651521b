//! What examples count in the loss of a batch.

use fl_model::{EXAMPLE_WEIGHT_MAX, Loss, TrainingSpec};
use onnx_grad::{Differentiated, ForwardModel, TrainingGraph};

use crate::error::TrainError;
use crate::examples::{Examples, Targets};
use crate::model::elements;

/// The training graph, with an input for weights where examples have any.
pub(crate) fn training_graph(
    model: &ForwardModel,
    spec: &TrainingSpec,
    weighted: bool,
) -> Result<TrainingGraph, TrainError> {
    let differentiated = match weighted {
        true => Differentiated::weighted(model, spec.loss)?,
        false => Differentiated::new(model, spec.loss)?,
    };
    Ok(TrainingGraph::new(differentiated, spec)?)
}

/// Refuses weights of other classes than the model tells.
pub(crate) fn check_class_weights(
    model: &ForwardModel,
    spec: &TrainingSpec,
) -> Result<(), TrainError> {
    let classes = match spec.loss {
        Loss::SoftmaxCrossEntropy => Some(elements(&model.output_dims())),
        Loss::BinaryCrossEntropy => Some(2),
        _ => None,
    };
    match spec.class_weights_problem(classes) {
        None => Ok(()),
        Some(problem) => Err(TrainError::Examples(format!("class_weights: {problem}"))),
    }
}

/// Refuses weights of examples that no mean can be taken with.
pub(crate) fn check_weights(weights: &[f32], rows: usize) -> Result<(), TrainError> {
    let fail = |reason: String| Err(TrainError::Examples(reason));
    if weights.len() != rows {
        return fail(format!("{rows} rows have {} weights", weights.len()));
    }
    let allowed = 0.0..=EXAMPLE_WEIGHT_MAX;
    if let Some(at) = weights.iter().position(|weight| !allowed.contains(weight)) {
        return fail(format!(
            "the weight of row {at} is not from 0 to {EXAMPLE_WEIGHT_MAX:e}"
        ));
    }
    check_total(weights, "")
}

/// Refuses weights that come to nothing: a mean over the rows divides by their sum, in float32.
fn check_total(weights: &[f32], counted: &str) -> Result<(), TrainError> {
    if weights.iter().sum::<f32>() >= f32::MIN_POSITIVE {
        return Ok(());
    }
    let nothing = match weights.iter().all(|weight| *weight == 0.0) {
        true => "every row weighs 0",
        false => "all rows together weigh next to 0",
    };
    Err(TrainError::Weightless(format!("{nothing}{counted}")))
}

/// What each example counts: its own weight times that of its class; none where all count the same.
///
/// # Errors
/// All of them count nothing, as where only classes are there that do not.
pub(crate) fn combined(
    spec: &TrainingSpec,
    examples: &Examples,
) -> Result<Option<Vec<f32>>, TrainError> {
    let (own, by_class) = (examples.weights(), &spec.class_weights);
    if by_class.is_empty() {
        return Ok(own.map(<[f32]>::to_vec));
    }
    let of_class = |class: usize| by_class.get(class).copied().unwrap_or(1.0);
    let mut weights: Vec<f32> = match examples.targets() {
        Targets::Classes(classes) => {
            let classes = classes.iter();
            classes.map(|class| of_class(*class as usize)).collect()
        }
        Targets::Values(values) => {
            let classes = values.iter();
            let class = |value: &f32| usize::from(*value > 0.5);
            classes.map(|value| of_class(class(value))).collect()
        }
    };
    if let Some(own) = own {
        let pairs = weights.iter_mut().zip(own);
        pairs.for_each(|(weight, own)| *weight *= own);
    }
    check_total(&weights, " by the weight of its class")?;
    Ok(Some(weights))
}
