//! Loss and gradients of one batch, for who takes steps of their own.

use fl_model::Loss;
use onnx_grad::{Differentiated, ForwardModel, GradientGraph};
use ort::value::Tensor;

use crate::batch::{Batch, filled, noise};
use crate::error::TrainError;
use crate::examples::Examples;
use crate::kernels::parse_for_runtime;
use crate::model::{check_examples, check_parameters};
use crate::runtime::session;
use crate::source::Model;

/// What a batch says of the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Mean loss of the examples, each counted once.
    pub loss: f64,
    /// In the order of the layout, then the device-local ones, each row-major: the gradient of the mean loss,
    /// weighted where the examples are, or the next value of a running statistic.
    pub by_parameter: Vec<Vec<f32>>,
}

/// Runs a model as in training over all examples as one batch; what is random comes from the seed.
///
/// # Errors
/// Model, loss, parameters and examples do not fit each other, or the runtime is not loaded.
pub fn gradients<'a>(
    model: impl Into<Model<'a>>,
    loss: Loss,
    parameters: &[Vec<f32>],
    examples: &Examples,
    seed: [u8; 32],
) -> Result<Gradients, TrainError> {
    of_model(
        &parse_for_runtime(model.into())?,
        loss,
        parameters,
        examples,
        seed,
    )
}

/// The same for a model that has been read.
pub(crate) fn of_model(
    model: &ForwardModel,
    loss: Loss,
    parameters: &[Vec<f32>],
    examples: &Examples,
    seed: [u8; 32],
) -> Result<Gradients, TrainError> {
    check_parameters(model, parameters)?;
    check_examples(model, loss, examples)?;
    let weights = examples.weights();
    let differentiated = match weights {
        Some(_) => Differentiated::weighted(model, loss)?,
        None => Differentiated::new(model, loss)?,
    };
    let graph = GradientGraph::new(differentiated);
    let mut session = session(&graph.bytes)?;
    let tensors = |filling: bool| -> Result<Vec<Tensor<f32>>, TrainError> {
        let slots = graph.parameters.iter().zip(parameters);
        let tensor = slots.map(|(slot, values)| {
            filled(&session, &slot.shape, |data| {
                if filling {
                    data.copy_from_slice(values);
                }
            })
        });
        tensor.collect()
    };
    let given = tensors(true)?;
    let mut made = tensors(false)?;
    let rows = examples.rows();
    let mut batch = Batch::new(
        &session,
        model,
        (&graph).into(),
        loss,
        rows,
        1,
        |binding, _| {
            let slots = graph.parameters.iter();
            for (slot, (given, made)) in slots.zip(given.iter().zip(&mut made)) {
                binding.bind_input(&slot.input, given)?;
                binding.bind_output(&slot.output, made)?;
            }
            Ok(())
        },
    )?;
    let all: Vec<u32> = (0..rows as u32).collect();
    batch.fill(examples, weights, &all);
    batch.draw(&mut noise(seed));
    session.run_binding(batch.binding(0))?;
    Ok(Gradients {
        loss: f64::from(batch.loss_sum()) / rows as f64,
        by_parameter: made
            .iter()
            .map(|tensor| tensor.extract_tensor().1.to_vec())
            .collect(),
    })
}
