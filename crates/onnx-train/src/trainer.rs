//! Local training: the epochs of one round on one device.

use fl_model::TrainingSpec;
use onnx_grad::{ForwardModel, TrainingGraph, check_training};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batch::{self, Batch, noise};
use crate::engine::{Memory, Numbers, Place, Session, filled, load};
use crate::error::TrainError;
use crate::examples::Examples;
use crate::kernels::parse_for_runtime;
use crate::model::{check_examples, check_parameters, names, sizes};
use crate::shuffle::shuffle;
use crate::source::Model;
use crate::weights::{check_class_weights, combined, training_graph};

/// Trains a model on local examples. One trainer serves every round of a job.
pub struct LocalTrainer {
    model: ForwardModel,
    spec: TrainingSpec,
    graph: TrainingGraph,
    session: Box<dyn Session>,
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
        Self::in_session(model.into(), spec, load)
    }

    /// The same, in a session that the caller makes of the graph.
    pub(crate) fn in_session(
        model: Model<'_>,
        spec: &TrainingSpec,
        session: impl FnOnce(&[u8]) -> Result<Box<dyn Session>, TrainError>,
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
    pub(crate) fn end_profiling(&mut self) -> Option<String> {
        self.session.end_profiling()
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
        let memory = &mut *self.session.memory();
        let carried = Carried::new(memory, &self.graph, parameters, self.spec.learning_rate)?;
        let sides = [0, 1].map(|from| carried.step(&self.graph, from));
        let batch = |rows: usize, memory: &mut dyn Memory| {
            let feed = (&self.graph).into();
            Batch::new(memory, &self.model, feed, self.spec.loss, rows, &sides)
        };
        let whole = batch(batch_rows, memory)?;
        let rest = match rows % batch_rows {
            0 => None,
            rest_rows => Some(batch(rest_rows, memory)?),
        };

        let mut random = ChaCha8Rng::from_seed(seed);
        let mut noise = noise(seed);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        let (mut loss, mut steps) = (0.0, 0u64);
        for epoch in 1..=self.spec.local_epochs {
            shuffle(&mut order, &mut random);
            let mut loss_sum = 0.0;
            for chosen in order.chunks(batch_rows) {
                let batch = match &rest {
                    Some(rest) if chosen.len() < batch_rows => rest,
                    _ => &whole,
                };
                batch.fill(memory, examples, weights.as_deref(), chosen);
                batch.draw(memory, &mut noise);
                let side = (steps % 2) as usize;
                loss_sum += f64::from(batch.run(memory, side)?);
                steps += 1;
            }
            loss = loss_sum / rows as f64;
            if !loss.is_finite() {
                return Err(diverged(epoch, "the loss"));
            }
        }
        let trained = carried.sides[(steps % 2) as usize].iter();
        let trained = trained.take(parameters.len());
        let parameters: Vec<Vec<f32>> = trained.map(|at| memory.read(*at).to_vec()).collect();
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
            self.session = load(&self.graph.bytes)?;
        }
        Ok(())
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
    /// Parameters, then state.
    sides: [Vec<Numbers>; 2],
    anchors: Vec<Numbers>,
    learning_rate: Numbers,
}

impl Carried {
    fn new(
        memory: &mut dyn Memory,
        graph: &TrainingGraph,
        parameters: &[Vec<f32>],
        learning_rate: f32,
    ) -> Result<Self, TrainError> {
        let mut side = || -> Result<Vec<Numbers>, TrainError> {
            let mut all = Vec::with_capacity(parameters.len() + graph.state.len());
            for (slot, values) in graph.parameters.iter().zip(parameters) {
                all.push(filled(memory, &sizes(&slot.shape), values)?);
            }
            for slot in &graph.state {
                let at = memory.numbers(&sizes(&slot.shape))?;
                memory.write(at).fill(slot.initial);
                all.push(at);
            }
            Ok(all)
        };
        let sides = [side()?, side()?];
        let anchored = graph.parameters.iter().zip(parameters);
        let anchors = anchored
            .filter(|(slot, _)| slot.anchor.is_some())
            .map(|(slot, values)| filled(memory, &sizes(&slot.shape), values))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sides,
            anchors,
            learning_rate: filled(memory, &[], &[learning_rate])?,
        })
    }

    /// A step that reads one side and writes the other.
    fn step<'a>(&self, graph: &'a TrainingGraph, from: usize) -> batch::Carried<'a> {
        let parameters = graph.parameters.iter();
        let parameters = parameters.map(|slot| (&*slot.input, &*slot.output));
        let state = graph.state.iter();
        let slots = parameters.chain(state.map(|slot| (&*slot.input, &*slot.output)));
        let (before, after) = (&self.sides[from], &self.sides[1 - from]);
        let mut step = batch::Carried::default();
        for ((input, output), (before, after)) in slots.zip(before.iter().zip(after)) {
            step.inputs.push((input, Place::Numbers(*before)));
            step.outputs.push((output, *after));
        }
        let anchors = graph.parameters.iter();
        let anchors = anchors.filter_map(|slot| slot.anchor.as_deref());
        let beside = std::iter::once(&*graph.learning_rate).chain(anchors);
        let places = std::iter::once(&self.learning_rate).chain(&self.anchors);
        let places = places.copied().map(Place::Numbers);
        step.inputs.extend(beside.zip(places));
        step
    }
}
