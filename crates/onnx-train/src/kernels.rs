//! What the loaded runtime has beside ONNX's own operators: tried, not assumed, since neither its version nor
//! the processor's name says it.

use std::sync::OnceLock;

use fl_model::Loss;
use onnx_grad::{ForwardModel, Kernels};

use crate::error::TrainError;
use crate::examples::{Examples, Matrix, Targets};
use crate::gradient::{Gradients, of_model};
use crate::model::elements;
#[cfg(feature = "tract")]
use crate::runtime::{Runtime, runtime};
use crate::source::Model;

/// Examples of the trial.
const ROWS: usize = 2;
/// How far what is computed in another order may be off, as a share of the largest number beside it: it is
/// off by some 1e-6.
const TOLERANCE: f64 = 1e-4;

static KERNELS: OnceLock<Kernels> = OnceLock::new();

/// Reads a model for training and evaluation on the loaded runtime.
///
/// # Errors
/// It cannot be trained, or the runtime is not loaded.
pub(crate) fn parse_for_runtime(model: Model<'_>) -> Result<ForwardModel, TrainError> {
    let model = model.parse()?;
    #[cfg(feature = "tract")]
    if let Runtime::Tract = runtime()? {
        return Ok(model.with_kernels(ON_TRACT));
    }
    // The trial takes a while, 14 ms, which most models need not spend.
    if !model.could_use_kernels() {
        return Ok(model);
    }
    Ok(model.with_kernels(kernels()?))
}

/// The kernels of the loaded runtime, tried once in a process.
///
/// # Errors
/// The runtime is not loaded.
pub fn kernels() -> Result<Kernels, TrainError> {
    if let Some(known) = KERNELS.get() {
        return Ok(*known);
    }
    let found = find()?;
    Ok(*KERNELS.get_or_init(|| found))
}

/// What tract has.
#[cfg(feature = "tract")]
const ON_TRACT: Kernels = Kernels {
    channel_block: None,
    simple: true,
};

fn find() -> Result<Kernels, TrainError> {
    #[cfg(feature = "tract")]
    if let Runtime::Tract = runtime()? {
        return Ok(ON_TRACT);
    }
    let expected = match trial(Kernels::default()) {
        Ok(expected) => expected,
        Err(error @ TrainError::RuntimeMissing) => return Err(error),
        // A runtime that cannot run the trial may run the user's model all the same.
        Err(_) => return Ok(Kernels::default()),
    };
    let candidates = Kernels::CHANNEL_BLOCKS.map(|block| Kernels {
        channel_block: Some(block),
        ..Kernels::default()
    });
    let mut candidates = candidates.into_iter();
    let found = candidates.find(|kernels| is_right(*kernels, &expected));
    Ok(found.unwrap_or_default())
}

/// Whether graphs for these kernels give what ordinary operators do: a runtime that lacks them refuses the
/// graph, and one with blocks of another size miscounts.
fn is_right(kernels: Kernels, expected: &Gradients) -> bool {
    trial(kernels).is_ok_and(|found| is_close(&found, expected))
}

/// Gradients of the trial model.
fn trial(kernels: Kernels) -> Result<Gradients, TrainError> {
    let model = Kernels::trial_model();
    let model = Model::from(&model).parse()?.with_kernels(kernels);
    let parameters = model.parameters().iter().map(|own| own.initial.clone());
    let parameters: Vec<Vec<f32>> = parameters.collect();
    let numbers = |width: usize, pace: f64| -> Vec<f32> {
        let indices = 0..ROWS * width;
        indices
            .map(|index| (index as f64 * pace).cos() as f32)
            .collect()
    };
    let columns = model.inputs().iter().map(|own| elements(&own.dims)).sum();
    let inputs = Matrix::new(columns, numbers(columns, 1.3))?;
    let targets = numbers(elements(&model.output_dims()), 2.1);
    let examples = Examples::new(inputs, Targets::Values(targets))?;
    of_model(
        &model,
        Loss::MeanSquaredError,
        &parameters,
        &examples,
        [0; 32],
    )
}

fn is_close(found: &Gradients, expected: &Gradients) -> bool {
    let largest = |numbers: &[f32]| numbers.iter().fold(0.0, |most: f32, of| most.max(of.abs()));
    let of_one = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
        let allowed = TOLERANCE * f64::from(largest(expected));
        let mut pairs = found.iter().zip(expected);
        pairs.all(|(a, b)| f64::from((a - b).abs()) <= allowed)
    };
    let mut parameters = found.by_parameter.iter().zip(&expected.by_parameter);
    parameters.all(of_one) && (found.loss - expected.loss).abs() <= TOLERANCE * expected.loss
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn blocks_of_another_size_are_refused() {
        crate::init_runtime(None).unwrap();
        let expected = trial(Kernels::default()).unwrap();
        assert!(is_right(Kernels::default(), &expected));
        let found = kernels().unwrap().channel_block;
        for block in Kernels::CHANNEL_BLOCKS {
            let kernels = Kernels {
                channel_block: Some(block),
                ..Kernels::default()
            };
            assert_eq!(is_right(kernels, &expected), found == Some(block));
        }
    }

    /// A gradient that is small as a whole is not off by little for that.
    #[test]
    fn each_gradient_is_compared_with_its_own_numbers() {
        let gradients = |small: f32| Gradients {
            loss: 1.0,
            by_parameter: vec![vec![1e3, -2e3], vec![small, -2e-6]],
        };
        let check = |found: Gradients, expected: bool| {
            assert_eq!(is_close(&found, &gradients(1e-6)), expected, "{found:?}");
        };
        check(gradients(1e-6), true);
        check(gradients(1.0001e-6), true);
        check(gradients(1.001e-6), false);
        check(gradients(f32::NAN), false);
        let other = Gradients {
            loss: 1.001,
            ..gradients(1e-6)
        };
        check(other, false);
    }
}
