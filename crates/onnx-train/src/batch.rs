//! The buffers of a step: one batch in a session's memory.

use fl_model::Loss;
use onnx_grad::{ForwardModel, GradientGraph, InputKind, NoiseSlot, TrainingGraph};
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::engine::{Binding, Memory, Numbers, Place};
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

/// What a graph takes and gives beside a batch: inputs and outputs by name.
#[derive(Default)]
pub(crate) struct Carried<'a> {
    pub(crate) inputs: Vec<(&'a str, Place)>,
    pub(crate) outputs: Vec<(&'a str, Numbers)>,
}

/// Buffers for batches of one size, and the runs that read them.
pub(crate) struct Batch {
    inputs: Vec<Place>,
    target: Place,
    weight: Option<Numbers>,
    noise: Vec<(Numbers, f32)>,
    loss_sum: Numbers,
    runs: Vec<Binding>,
}

impl Batch {
    /// Buffers for so many rows, and a run for each of what graphs carry beside.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn new(
        memory: &mut dyn Memory,
        model: &ForwardModel,
        feed: Feed<'_>,
        loss: Loss,
        rows: usize,
        carried: &[Carried<'_>],
    ) -> Result<Self, TrainError> {
        let mut buffer = |kind: InputKind, dims: &[u64]| {
            let shape = shape_of(dims, rows);
            Ok::<_, TrainError>(match kind {
                InputKind::F32 => Place::Numbers(memory.numbers(&shape)?),
                InputKind::I64 => Place::Indices(memory.indices(&shape)?),
            })
        };
        let inputs = model.inputs().into_iter();
        let inputs: Vec<Place> = inputs
            .map(|own| buffer(own.kind, &own.dims))
            .collect::<Result<_, _>>()?;
        let target = match loss {
            Loss::SoftmaxCrossEntropy => buffer(InputKind::I64, &[])?,
            _ => buffer(InputKind::F32, &model.output_dims())?,
        };
        let weight = feed.weight.map(|_| memory.numbers(&[rows]));
        let weight = weight.transpose()?;
        let noise = feed.noise.iter().map(|slot| {
            let at = memory.numbers(&noise_shape(slot, rows))?;
            Ok((at, slot.keep))
        });
        let noise = noise.collect::<Result<Vec<_>, TrainError>>()?;
        let mut batch = Self {
            inputs,
            target,
            weight,
            noise,
            loss_sum: memory.numbers(&[])?,
            runs: Vec::new(),
        };
        for carried in carried {
            let mut reads = batch.reads(&feed);
            reads.extend(&carried.inputs);
            let mut writes = carried.outputs.clone();
            writes.push((feed.loss_sum, batch.loss_sum));
            batch.runs.push(memory.bind(&reads, &writes)?);
        }
        Ok(batch)
    }

    /// The graph's inputs that the buffers hold.
    fn reads<'a>(&self, feed: &Feed<'a>) -> Vec<(&'a str, Place)> {
        let names = feed.inputs.iter().map(String::as_str);
        let mut reads: Vec<(&str, Place)> = names.zip(self.inputs.iter().copied()).collect();
        reads.push((feed.target, self.target));
        reads.extend(feed.weight.zip(self.weight.map(Place::Numbers)));
        let noise = feed.noise.iter().zip(&self.noise);
        reads.extend(noise.map(|(slot, (at, _))| (&*slot.input, Place::Numbers(*at))));
        reads
    }

    /// Runs the graph with what is carried of that number, and gives the sum of the losses of the batch's
    /// examples.
    pub(crate) fn run(&self, memory: &mut dyn Memory, carried: usize) -> Result<f32, TrainError> {
        memory.run(self.runs[carried])?;
        Ok(memory.read(self.loss_sum)[0])
    }

    /// Copies the chosen examples into the buffers, and what they count where the graph asks for it: 1 where
    /// there are no weights.
    pub(crate) fn fill(
        &self,
        memory: &mut dyn Memory,
        examples: &Examples,
        weights: Option<&[f32]>,
        chosen: &[u32],
    ) {
        if let Some(at) = self.weight {
            let into = memory.write(at);
            match weights {
                Some(all) => gather(into, all, chosen),
                None => into.fill(1.0),
            }
        }
        for (place, input) in self.inputs.iter().zip(examples.inputs()) {
            match (place, input) {
                (Place::Numbers(at), Input::Numbers(all)) => {
                    gather(memory.write(*at), all.data(), chosen);
                }
                (Place::Indices(at), Input::Indices(all)) => {
                    gather(memory.write_indices(*at), all.data(), chosen);
                }
                (Place::Numbers(at), Input::Windows(all)) => {
                    let into = memory.write(*at);
                    let each = into.chunks_exact_mut(all.elements()).zip(chosen);
                    each.for_each(|(into, &window)| all.gather(window as usize, into));
                }
                // `check_examples` has compared the inputs with the model's, from which the buffers come.
                _ => unreachable!("an input of another kind than the model's"),
            }
        }
        match (self.target, examples.targets()) {
            (Place::Indices(at), Targets::Classes(all)) => {
                gather(memory.write_indices(at), all, chosen);
            }
            (Place::Numbers(at), Targets::Values(all)) => gather(memory.write(at), all, chosen),
            // `check_examples` has compared the targets with the loss, from which the buffer comes.
            _ => unreachable!("targets of another kind than the loss"),
        }
    }

    /// Draws the random numbers of the next step.
    pub(crate) fn draw(&self, memory: &mut dyn Memory, random: &mut impl Rng) {
        for (at, keep) in &self.noise {
            // Of 2^32 equally likely numbers those below this give a 1.
            let below = (f64::from(*keep) * (1u64 << 32) as f64) as u64;
            let numbers = memory.write(*at).iter_mut();
            numbers.for_each(|to| *to = f32::from(u8::from(u64::from(random.next_u32()) < below)));
        }
    }
}

/// The shape of so many rows of these dimensions.
pub(crate) fn shape_of(dims: &[u64], rows: usize) -> Vec<usize> {
    let own = dims.iter().map(|size| *size as usize);
    std::iter::once(rows).chain(own).collect()
}

fn noise_shape(slot: &NoiseSlot, rows: usize) -> Vec<usize> {
    let mut shape: Vec<usize> = slot.dims.iter().map(|size| *size as usize).collect();
    if let Some(axis) = slot.batch_axis {
        shape[axis] *= rows;
    }
    shape
}

/// Copies the chosen rows; how wide one is follows from the buffer, which holds as many.
fn gather<T: Copy>(buffer: &mut [T], all: &[T], chosen: &[u32]) {
    let width = buffer.len() / chosen.len();
    for (to, &row) in buffer.chunks_exact_mut(width).zip(chosen) {
        to.copy_from_slice(&all[row as usize * width..][..width]);
    }
}

/// The generator of the random numbers of steps; apart from that of the order of examples, which so is the
/// same with and without them.
pub(crate) fn noise(seed: [u8; 32]) -> ChaCha8Rng {
    let mut noise = ChaCha8Rng::from_seed(seed);
    noise.set_stream(NOISE_STREAM);
    noise
}
