//! Local training: the epochs of one round on one device.

use fl_model::TrainingSpec;
use onnx_grad::{ForwardModel, TrainingGraph, check_training};
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batch::{Batch, filled, noise};
use crate::error::TrainError;
use crate::examples::Examples;
use crate::kernels::parse_for_runtime;
use crate::model::{check_examples, check_parameters, names};
use crate::runtime::session;
use crate::shuffle::shuffle;
use crate::source::Model;
use crate::weights::{check_class_weights, combined, training_graph};

/// Trains a model on local examples. One trainer serves every round of a job.
pub struct LocalTrainer {
    model: ForwardModel,
    spec: TrainingSpec,
    graph: TrainingGraph,
    session: Session,
}

/// What a round of local training gave.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalTraining {
    /// The parameters after the last step, each row-major: those of the layout, then the device-local ones.
    pub parameters: Vec<Vec<f32>>,
    /// Examples trained on, each counted once.
    pub examples: u64,
    /// Mean loss over the examples of the last epoch, each taken before the step that used it.
    pub loss: f64,
    /// Optimiser steps taken.
    pub steps: u64,
}

impl LocalTrainer {
    /// Writes the training graph for a model and loads it.
    ///
    /// # Errors
    /// The model cannot be trained as asked, or the runtime is not loaded.
    pub fn new<'a>(model: impl Into<Model<'a>>, spec: &TrainingSpec) -> Result<Self, TrainError> {
        Self::in_session(model.into(), spec, session)
    }

    /// The same, in a session that the caller makes of the graph.
    pub(crate) fn in_session(
        model: Model<'_>,
        spec: &TrainingSpec,
        session: impl FnOnce(&[u8]) -> Result<Session, TrainError>,
    ) -> Result<Self, TrainError> {
        let model = parse_for_runtime(model)?;
        check_class_weights(&model, spec)?;
        let graph = training_graph(&model, spec, !spec.class_weights.is_empty())?;
        let session = session(&graph.bytes)?;
        Ok(Self {
            model,
            spec: spec.clone(),
            graph,
            session,
        })
    }

    /// Ends the session's profile and gives its file.
    #[cfg(feature = "test")]
    pub(crate) fn end_profiling(&mut self) -> Result<String, TrainError> {
        Ok(self.session.end_profiling()?)
    }

    /// What this trainer does, in a round.
    pub fn spec(&self) -> &TrainingSpec {
        &self.spec
    }

    /// Names of the model's inputs: examples come in their order.
    pub fn inputs(&self) -> Vec<String> {
        names(&self.model)
    }

    /// Takes another step size from now on, which a schedule gives each round.
    ///
    /// # Errors
    /// It is not positive.
    pub fn set_learning_rate(&mut self, learning_rate: f32) -> Result<(), TrainError> {
        let spec = TrainingSpec {
            learning_rate,
            ..self.spec.clone()
        };
        check_training(&spec)?;
        self.spec = spec;
        Ok(())
    }

    /// Trains for the specified epochs from the given parameters. Examples are shuffled in every
    /// epoch by ChaCha8 from the seed; the optimiser begins afresh. Equal inputs give equal bits.
    /// Where examples or classes have weights, each counts so much in its batch.
    ///
    /// # Errors
    /// Parameters or examples do not fit, all examples count nothing, or training diverges.
    pub fn run(
        &mut self,
        parameters: &[Vec<f32>],
        examples: &Examples,
        seed: [u8; 32],
    ) -> Result<LocalTraining, TrainError> {
        check_parameters(&self.model, parameters)?;
        check_examples(&self.model, self.spec.loss, examples)?;
        let weights = combined(&self.spec, examples)?;
        self.take_weights(weights.is_some())?;
        let rows = examples.rows();
        let batch_rows = (self.spec.batch_size.max(1) as usize).min(rows);
        let mut carried = Carried::new(
            &self.session,
            &self.graph,
            parameters,
            self.spec.learning_rate,
        )?;
        let mut whole = self.batch(&mut carried, batch_rows)?;
        let mut rest = match rows % batch_rows {
            0 => None,
            rest_rows => Some(self.batch(&mut carried, rest_rows)?),
        };

        let mut random = ChaCha8Rng::from_seed(seed);
        let mut noise = noise(seed);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        let (mut loss, mut steps) = (0.0, 0u64);
        for epoch in 1..=self.spec.local_epochs {
            shuffle(&mut order, &mut random);
            let mut loss_sum = 0.0;
            for chosen in order.chunks(batch_rows) {
                let batch = match &mut rest {
                    Some(rest) if chosen.len() < batch_rows => rest,
                    _ => &mut whole,
                };
                batch.fill(examples, weights.as_deref(), chosen);
                batch.draw(&mut noise);
                let side = (steps % 2) as usize;
                self.session.run_binding(batch.binding(side))?;
                loss_sum += f64::from(batch.loss_sum());
                steps += 1;
            }
            loss = loss_sum / rows as f64;
            if !loss.is_finite() {
                return Err(diverged(epoch, "the loss"));
            }
        }
        let parameters = carried.parameters((steps % 2) as usize, parameters.len());
        for (own, values) in self.model.parameters().iter().zip(&parameters) {
            if !values.iter().all(|number| number.is_finite()) {
                return Err(diverged(
                    self.spec.local_epochs,
                    &format!("parameter `{}`", own.name),
                ));
            }
        }
        Ok(LocalTraining {
            parameters,
            examples: rows as u64,
            loss,
            steps,
        })
    }

    /// Sees to it that the graph takes weights, or does not.
    fn take_weights(&mut self, weighted: bool) -> Result<(), TrainError> {
        if self.graph.weight.is_some() != weighted {
            self.graph = training_graph(&self.model, &self.spec, weighted)?;
            self.session = session(&self.graph.bytes)?;
        }
        Ok(())
    }

    fn batch(&self, carried: &mut Carried, rows: usize) -> Result<Batch, TrainError> {
        let (feed, loss) = ((&self.graph).into(), self.spec.loss);
        Batch::new(
            &self.session,
            &self.model,
            feed,
            loss,
            rows,
            2,
            |binding, from| carried.bind(binding, &self.graph, from),
        )
    }
}

fn diverged(epoch: u32, what: &str) -> TrainError {
    TrainError::Diverged {
        epoch,
        what: what.to_owned(),
    }
}

/// Parameters and optimiser state, twice: each step reads one side and writes the other, so that
/// nothing is copied between steps.
struct Carried {
    sides: [Vec<Tensor<f32>>; 2],
    anchors: Vec<Tensor<f32>>,
    learning_rate: Tensor<f32>,
}

impl Carried {
    fn new(
        session: &Session,
        graph: &TrainingGraph,
        parameters: &[Vec<f32>],
        learning_rate: f32,
    ) -> Result<Self, TrainError> {
        let side = || -> Result<Vec<Tensor<f32>>, TrainError> {
            let mut tensors = Vec::with_capacity(parameters.len() + graph.state.len());
            for (slot, values) in graph.parameters.iter().zip(parameters) {
                tensors.push(filled(session, &slot.shape, |data| {
                    data.copy_from_slice(values)
                })?);
            }
            for slot in &graph.state {
                tensors.push(filled(session, &slot.shape, |data| {
                    data.fill(slot.initial)
                })?);
            }
            Ok(tensors)
        };
        let anchored = graph.parameters.iter().zip(parameters);
        let anchors = anchored
            .filter(|(slot, _)| slot.anchor.is_some())
            .map(|(slot, values)| filled(session, &slot.shape, |data| data.copy_from_slice(values)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sides: [side()?, side()?],
            anchors,
            learning_rate: filled(session, &[], |data| data.fill(learning_rate))?,
        })
    }

    /// The first so many of one side: state comes after the parameters.
    fn parameters(&self, side: usize, count: usize) -> Vec<Vec<f32>> {
        let tensors = self.sides[side].iter().take(count);
        tensors
            .map(|tensor| tensor.extract_tensor().1.to_vec())
            .collect()
    }

    /// Binds a step that reads one side and writes the other.
    fn bind(
        &mut self,
        binding: &mut IoBinding,
        graph: &TrainingGraph,
        from: usize,
    ) -> Result<(), TrainError> {
        let parameters = graph
            .parameters
            .iter()
            .map(|slot| (&slot.input, &slot.output));
        let state = graph.state.iter().map(|slot| (&slot.input, &slot.output));
        let [first, second] = &mut self.sides;
        let (before, after) = if from == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let pairs = before.iter().zip(after.iter_mut());
        for ((input, output), (before, after)) in parameters.chain(state).zip(pairs) {
            binding.bind_input(input, before)?;
            binding.bind_output(output, after)?;
        }
        binding.bind_input(&graph.learning_rate, &self.learning_rate)?;
        let names = graph
            .parameters
            .iter()
            .filter_map(|slot| slot.anchor.as_ref());
        for (name, tensor) in names.zip(&self.anchors) {
            binding.bind_input(name, tensor)?;
        }
        Ok(())
    }
}
