//! The buffers of a step: one batch, bound to a training session.

use fl_model::Loss;
use onnx_grad::{ForwardModel, InputKind, NoiseSlot, TrainingGraph};
use ort::session::{IoBinding, Session};
use ort::value::{PrimitiveTensorElementType, Tensor};
use rand::Rng;

use crate::error::TrainError;
use crate::examples::{Examples, Input, Targets};

/// Buffers for batches of one size, bound for steps in both directions between two sets of parameters.
pub(crate) struct Batch {
    inputs: Vec<Buffer>,
    target: Buffer,
    noise: Vec<(Tensor<f32>, f32)>,
    loss_sum: Tensor<f32>,
    bindings: [IoBinding; 2],
}

enum Buffer {
    Numbers(Tensor<f32>),
    Indices(Tensor<i64>),
}

impl Batch {
    /// Buffers for so many rows; `carry` binds what goes from one step to the next, for a step from
    /// either set.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn new(
        session: &Session,
        model: &ForwardModel,
        graph: &TrainingGraph,
        loss: Loss,
        rows: usize,
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
        let noise: Vec<(Tensor<f32>, f32)> = graph
            .noise
            .iter()
            .map(|slot| Ok((noise(session, slot, rows)?, slot.keep)))
            .collect::<Result<_, TrainError>>()?;
        let mut loss_sum = Tensor::new(session.allocator(), Vec::<i64>::new())?;
        let mut bind = |from: usize| -> Result<IoBinding, TrainError> {
            let mut binding = session.create_binding()?;
            for (name, buffer) in graph.inputs.iter().zip(&inputs) {
                bind_input(&mut binding, name, buffer)?;
            }
            bind_input(&mut binding, &graph.target, &target)?;
            for (slot, (tensor, _)) in graph.noise.iter().zip(&noise) {
                binding.bind_input(&slot.input, tensor)?;
            }
            binding.bind_output(&graph.loss_sum, &mut loss_sum)?;
            carry(&mut binding, from)?;
            Ok(binding)
        };
        let bindings = [bind(0)?, bind(1)?];
        Ok(Self {
            inputs,
            target,
            noise,
            loss_sum,
            bindings,
        })
    }

    /// The binding of a step from that set of parameters.
    pub(crate) fn binding(&self, from: usize) -> &IoBinding {
        &self.bindings[from]
    }

    /// Sum of the losses of the batch's examples, after a step.
    pub(crate) fn loss_sum(&self) -> f32 {
        self.loss_sum.extract_tensor().1[0]
    }

    /// Copies the chosen examples into the buffers.
    pub(crate) fn fill(&mut self, examples: &Examples, chosen: &[u32]) {
        for (buffer, input) in self.inputs.iter_mut().zip(examples.inputs()) {
            match (buffer, input) {
                (Buffer::Numbers(tensor), Input::Numbers(all)) => {
                    gather(tensor.extract_tensor_mut().1, all.data(), chosen);
                }
                (Buffer::Indices(tensor), Input::Indices(all)) => {
                    gather(tensor.extract_tensor_mut().1, all.data(), chosen);
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

fn noise(session: &Session, slot: &NoiseSlot, rows: usize) -> Result<Tensor<f32>, TrainError> {
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
