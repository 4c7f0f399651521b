//! What the loaded runtime has beside ONNX's own operators: tried, not assumed, since neither its version nor
//! the processor's name says it.

use std::sync::OnceLock;

use fl_model::Loss;
use onnx_grad::{ForwardModel, Kernels};

use crate::error::TrainError;
use crate::examples::{Examples, Matrix, Targets};
use crate::gradient::{Gradients, of_model};
use crate::source::Model;

/// Examples of the trial.
const ROWS: usize = 2;
/// How far what is computed in another order may be off, for each 1 + |number|.
const TOLERANCE: f32 = 1e-4;

static KERNELS: OnceLock<Kernels> = OnceLock::new();

/// Reads a model for training and evaluation on the loaded runtime.
///
/// # Errors
/// It cannot be trained, or the runtime is not loaded.
pub(crate) fn parse_for_runtime(model: Model<'_>) -> Result<ForwardModel, TrainError> {
    let model = model.parse()?;
    // The trial takes some milliseconds, which most models need not spend.
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

fn find() -> Result<Kernels, TrainError> {
    let expected = match trial(Kernels::default()) {
        Ok(expected) => expected,
        Err(error @ TrainError::RuntimeMissing) => return Err(error),
        // A runtime that cannot run the trial may run the user's model all the same.
        Err(_) => return Ok(Kernels::default()),
    };
    let candidates = Kernels::CHANNEL_BLOCKS.map(|block| Kernels {
        channel_block: Some(block),
    });
    // A runtime that lacks the operators refuses the graph, and one with blocks of another size miscounts.
    let right = |kernels: &Kernels| trial(*kernels).is_ok_and(|found| is_close(&found, &expected));
    Ok(candidates.into_iter().find(right).unwrap_or_default())
}

/// Gradients of the trial model.
fn trial(kernels: Kernels) -> Result<Gradients, TrainError> {
    let model = Kernels::trial_model();
    let model = Model::from(&model).parse()?.with_kernels(kernels);
    let parameters = model.parameters().iter().map(|own| own.initial.clone());
    let width: u64 = model.output_dims().iter().product();
    let count = ROWS * width as usize;
    let numbers = |pace: f64| (0..count).map(move |index| (index as f64 * pace).cos() as f32);
    let inputs = Matrix::new(width as usize, numbers(1.3).collect())?;
    let examples = Examples::new(inputs, Targets::Values(numbers(2.1).collect()))?;
    let parameters: Vec<Vec<f32>> = parameters.collect();
    of_model(
        &model,
        Loss::MeanSquaredError,
        &parameters,
        &examples,
        [0; 32],
    )
}

fn is_close(found: &Gradients, expected: &Gradients) -> bool {
    let pairs = found.by_parameter.iter().flatten();
    let mut pairs = pairs.zip(expected.by_parameter.iter().flatten());
    pairs.all(|(a, b)| (a - b).abs() <= TOLERANCE * (1.0 + b.abs()))
        && (found.loss - expected.loss).abs() <= f64::from(TOLERANCE) * (1.0 + expected.loss)
}
