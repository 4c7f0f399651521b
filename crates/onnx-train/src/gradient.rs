//! Loss and gradients of one batch, for who takes steps of their own.

use fl_model::Loss;
use onnx_grad::{Differentiated, ForwardModel, GradientGraph};

use crate::batch::{Batch, Carried, noise};
use crate::engine::{Place, filled, load};
use crate::error::TrainError;
use crate::examples::Examples;
use crate::kernels::parse_for_runtime;
use crate::model::{check_examples, check_parameters, sizes};
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
    let mut session = load(&graph.bytes)?;
    let memory = &mut *session.memory();
    let mut carried = Carried::default();
    for (slot, values) in graph.parameters.iter().zip(parameters) {
        let shape = sizes(&slot.shape);
        let given = filled(memory, &shape, values)?;
        carried.inputs.push((&slot.input, Place::Numbers(given)));
        carried
            .outputs
            .push((&slot.output, memory.numbers(&shape)?));
    }
    let rows = examples.rows();
    let feed = (&graph).into();
    let carried = [carried];
    let batch = Batch::new(memory, model, feed, loss, rows, &carried)?;
    let all: Vec<u32> = (0..rows as u32).collect();
    batch.fill(memory, examples, weights, &all);
    batch.draw(memory, &mut noise(seed));
    let loss_sum = batch.run(memory, 0)?;
    let made = carried[0].outputs.iter();
    Ok(Gradients {
        loss: f64::from(loss_sum) / rows as f64,
        by_parameter: made.map(|(_, at)| memory.read(*at).to_vec()).collect(),
    })
}
