//! The buffers of a step: one batch, bound to a training session.

use fl_model::Loss;
use onnx_grad::{ForwardModel, GradientGraph, InputKind, NoiseSlot, TrainingGraph};
use ort::session::{IoBinding, Session};
use ort::value::{PrimitiveTensorElementType, Tensor};
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::examples::{Examples, Input, Targets};

/// The generator's stream for random numbers of a step; 0 orders the examples.
const NOISE_STREAM: u64 = 1;

/// The inputs of a graph that differ from batch to batch, and the loss that it gives.
pub(crate) struct Feed<'a> {
    inputs: &'a [String],
    target: &'a str,
    weight: Option<&'a str>,
    noise: &'a [NoiseSlot],
    loss_sum: &'a str,
}

impl<'a> From<&'a TrainingGraph> for Feed<'a> {
    fn from(graph: &'a TrainingGraph) -> Self {
        Self {
            inputs: &graph.inputs,
            target: &graph.target,
            weight: graph.weight.as_deref(),
            noise: &graph.noise,
            loss_sum: &graph.loss_sum,
        }
    }
}

impl<'a> From<&'a GradientGraph> for Feed<'a> {
    fn from(graph: &'a GradientGraph) -> Self {
        Self {
            inputs: &graph.inputs,
            target: &graph.target,
            weight: graph.weight.as_deref(),
            noise: &graph.noise,
            loss_sum: &graph.loss_sum,
        }
    }
}

/// Buffers for batches of one size, and the bindings of a session to them.
pub(crate) struct Batch {
    inputs: Vec<Buffer>,
    target: Buffer,
    weight: Option<Tensor<f32>>,
    noise: Vec<(Tensor<f32>, f32)>,
    loss_sum: Tensor<f32>,
    bindings: Vec<IoBinding>,
}

enum Buffer {
    Numbers(Tensor<f32>),
    Indices(Tensor<i64>),
}

impl Batch {
    /// Buffers for so many rows, and so many bindings to them; `carry` binds what else the graph takes and
    /// gives, by the number of the binding.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn new(
        session: &Session,
        model: &ForwardModel,
        feed: Feed<'_>,
        loss: Loss,
        rows: usize,
        bindings: usize,
        mut carry: impl FnMut(&mut IoBinding, usize) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let buffer = |kind: InputKind, dims: &[u64]| -> Result<Buffer, TrainError> {
            Ok(match kind {
                InputKind::F32 => Buffer::Numbers(tensor(session, rows, dims)?),
                InputKind::I64 => Buffer::Indices(tensor(session, rows, dims)?),
            })
        };
        let inputs = model.inputs().into_iter();
        let inputs: Vec<Buffer> = inputs
            .map(|own| buffer(own.kind, &own.dims))
            .collect::<Result<_, _>>()?;
        let target = match loss {
            Loss::SoftmaxCrossEntropy => buffer(InputKind::I64, &[])?,
            _ => buffer(InputKind::F32, &model.output_dims())?,
        };
        let weight = feed.weight.map(|_| tensor::<f32>(session, rows, &[]));
        let weight = weight.transpose()?;
        let noise: Vec<(Tensor<f32>, f32)> = feed
            .noise
            .iter()
            .map(|slot| Ok((noise_buffer(session, slot, rows)?, slot.keep)))
            .collect::<Result<_, TrainError>>()?;
        let mut loss_sum = Tensor::new(session.allocator(), Vec::<i64>::new())?;
        let mut bind = |index: usize| {
            let mut binding = session.create_binding()?;
            for (name, buffer) in feed.inputs.iter().zip(&inputs) {
                bind_input(&mut binding, name, buffer)?;
            }
            bind_input(&mut binding, feed.target, &target)?;
            if let (Some(name), Some(weight)) = (feed.weight, &weight) {
                binding.bind_input(name, weight)?;
            }
            for (slot, (tensor, _)) in feed.noise.iter().zip(&noise) {
                binding.bind_input(&slot.input, tensor)?;
            }
            binding.bind_output(feed.loss_sum, &mut loss_sum)?;
            carry(&mut binding, index)?;
            Ok::<_, TrainError>(binding)
        };
        let bindings = (0..bindings).map(&mut bind).collect::<Result<_, _>>()?;
        Ok(Self {
            inputs,
            target,
            weight,
            noise,
            loss_sum,
            bindings,
        })
    }

    /// The binding of that number.
    pub(crate) fn binding(&self, index: usize) -> &IoBinding {
        &self.bindings[index]
    }

    /// Sum of the losses of the batch's examples, after a step.
    pub(crate) fn loss_sum(&self) -> f32 {
        self.loss_sum.extract_tensor().1[0]
    }

    /// Copies the chosen examples into the buffers, and what they count where the graph asks for it: 1 where
    /// there are no weights.
    pub(crate) fn fill(&mut self, examples: &Examples, weights: Option<&[f32]>, chosen: &[u32]) {
        if let Some(tensor) = &mut self.weight {
            let into = tensor.extract_tensor_mut().1;
            match weights {
                Some(all) => gather(into, all, chosen),
                None => into.fill(1.0),
            }
        }
        for (buffer, input) in self.inputs.iter_mut().zip(examples.inputs()) {
            match (buffer, input) {
                (Buffer::Numbers(tensor), Input::Numbers(all)) => {
                    gather(tensor.extract_tensor_mut().1, all.data(), chosen);
                }
                (Buffer::Indices(tensor), Input::Indices(all)) => {
                    gather(tensor.extract_tensor_mut().1, all.data(), chosen);
                }
                (Buffer::Numbers(tensor), Input::Windows(all)) => {
                    let into = tensor.extract_tensor_mut().1;
                    let each = into.chunks_exact_mut(all.elements()).zip(chosen);
                    each.for_each(|(into, &window)| all.gather(window as usize, into));
                }
                // `check_examples` has compared the inputs with the model's, from which the buffers come.
                _ => unreachable!("an input of another kind than the model's"),
            }
        }
        match (&mut self.target, examples.targets()) {
            (Buffer::Indices(tensor), Targets::Classes(all)) => {
                gather(tensor.extract_tensor_mut().1, all, chosen);
            }
            (Buffer::Numbers(tensor), Targets::Values(all)) => {
                gather(tensor.extract_tensor_mut().1, all, chosen);
            }
            // `check_examples` has compared the targets with the loss, from which the buffer comes.
            _ => unreachable!("targets of another kind than the loss"),
        }
    }

    /// Draws the random numbers of the next step.
    pub(crate) fn draw(&mut self, random: &mut impl Rng) {
        for (tensor, keep) in &mut self.noise {
            // Of 2^32 equally likely numbers those below this give a 1.
            let below = (f64::from(*keep) * (1u64 << 32) as f64) as u64;
            let numbers = tensor.extract_tensor_mut().1.iter_mut();
            numbers.for_each(|to| *to = f32::from(u8::from(u64::from(random.next_u32()) < below)));
        }
    }
}

fn bind_input(binding: &mut IoBinding, name: &str, buffer: &Buffer) -> Result<(), TrainError> {
    match buffer {
        Buffer::Numbers(tensor) => binding.bind_input(name, tensor)?,
        Buffer::Indices(tensor) => binding.bind_input(name, tensor)?,
    }
    Ok(())
}

/// A tensor for so many rows of these dimensions.
fn tensor<T: PrimitiveTensorElementType + std::fmt::Debug>(
    session: &Session,
    rows: usize,
    dims: &[u64],
) -> Result<Tensor<T>, TrainError> {
    let own = dims.iter().map(|size| *size as i64);
    let shape: Vec<i64> = std::iter::once(rows as i64).chain(own).collect();
    Ok(Tensor::new(session.allocator(), shape)?)
}

fn noise_buffer(
    session: &Session,
    slot: &NoiseSlot,
    rows: usize,
) -> Result<Tensor<f32>, TrainError> {
    let mut shape: Vec<i64> = slot.dims.iter().map(|size| *size as i64).collect();
    if let Some(axis) = slot.batch_axis {
        shape[axis] *= rows as i64;
    }
    Ok(Tensor::new(session.allocator(), shape)?)
}

/// Copies the chosen rows; how wide one is follows from the buffer, which holds as many.
fn gather<T: Copy>(buffer: &mut [T], all: &[T], chosen: &[u32]) {
    let width = buffer.len() / chosen.len();
    for (to, &row) in buffer.chunks_exact_mut(width).zip(chosen) {
        to.copy_from_slice(&all[row as usize * width..][..width]);
    }
}

/// A tensor that the runtime owns.
pub(crate) fn filled(
    session: &Session,
    shape: &[u64],
    fill: impl FnOnce(&mut [f32]),
) -> Result<Tensor<f32>, TrainError> {
    let dims: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    let mut tensor = Tensor::new(session.allocator(), dims)?;
    fill(tensor.extract_tensor_mut().1);
    Ok(tensor)
}

/// The generator of the random numbers of steps; apart from that of the order of examples, which so is the
/// same with and without them.
pub(crate) fn noise(seed: [u8; 32]) -> ChaCha8Rng {
    let mut noise = ChaCha8Rng::from_seed(seed);
    noise.set_stream(NOISE_STREAM);
    noise
}
