//! Evaluation of parameters on held-out examples.

use std::borrow::Cow;
use std::ops::Range;

use fl_model::Loss;
use onnx_grad::{EvalGraph, ForwardModel};

use crate::batch::shape_of;
use crate::engine::{Session, View, load};
use crate::error::TrainError;
use crate::examples::{Examples, Input, Targets};
use crate::kernels::parse_for_runtime;
use crate::model::{check_examples, check_parameters, elements, names, sizes};
use crate::source::Model;

/// Numbers of a batch's input, at most; a single wide row is still run.
const BATCH_ELEMENTS_MAX: usize = 1 << 18;

/// Evaluates a model on examples. One evaluator serves every round of a job.
pub struct Evaluator {
    model: ForwardModel,
    loss: Loss,
    graph: EvalGraph,
    session: Box<dyn Session>,
}

/// What the model says of each example.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// The likeliest class; the lowest index of equals. For binary cross-entropy 1 where the logit is above 0.
    Classes(Vec<u32>),
    /// The outputs, row-major.
    Values(Vec<f32>),
}

/// How parameters did on examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Examples evaluated.
    pub examples: u64,
    /// Examples whose class was predicted; 0 for regression.
    pub correct: u64,
    /// Sum of the examples' losses, added in the order of the rows.
    pub loss_sum: f64,
    /// Loss of each example.
    pub losses: Vec<f32>,
    /// Number of classes: 2 for binary cross-entropy, 0 for regression.
    pub classes: usize,
    /// Examples by class and prediction, classes × classes, row-major, row = true class.
    pub confusion: Vec<u64>,
    /// Sum over all outputs of the absolute difference from the target; 0 for classification.
    pub absolute_error_sum: f64,
    /// Sum over all outputs of the squared difference from the target; 0 for classification.
    pub squared_error_sum: f64,
    /// What the model says.
    pub predictions: Predictions,
}

impl Evaluation {
    /// Mean loss of an example.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.examples as f64
    }

    /// Share of examples whose class was predicted; none for regression.
    pub fn accuracy(&self) -> Option<f64> {
        (self.classes > 0).then(|| self.correct as f64 / self.examples as f64)
    }
}

impl Evaluator {
    /// Writes the evaluation graph for a model and loads it.
    ///
    /// # Errors
    /// The model does not fit the loss, or the runtime is not loaded.
    pub fn new<'a>(model: impl Into<Model<'a>>, loss: Loss) -> Result<Self, TrainError> {
        let model = parse_for_runtime(model.into())?;
        let graph = EvalGraph::new(&model, loss)?;
        let session = load(&graph.bytes)?;
        Ok(Self {
            model,
            loss,
            graph,
            session,
        })
    }

    /// Names of the model's inputs: examples come in their order.
    pub fn inputs(&self) -> Vec<String> {
        names(&self.model)
    }

    /// Runs the model with the given parameters over all examples, in bounded batches.
    ///
    /// # Errors
    /// Parameters or examples do not fit, or a loss is not finite.
    pub fn run(
        &mut self,
        parameters: &[Vec<f32>],
        examples: &Examples,
    ) -> Result<Evaluation, TrainError> {
        check_parameters(&self.model, parameters)?;
        check_examples(&self.model, self.loss, examples)?;
        let (logits, losses) = self.forward(parameters, examples)?;
        if let Some(example) = losses.iter().position(|loss| !loss.is_finite()) {
            return Err(TrainError::NotFinite { example });
        }
        let mut evaluation = Evaluation {
            examples: examples.rows() as u64,
            correct: 0,
            loss_sum: losses.iter().copied().map(f64::from).sum(),
            losses,
            classes: 0,
            confusion: Vec::new(),
            absolute_error_sum: 0.0,
            squared_error_sum: 0.0,
            predictions: Predictions::Values(Vec::new()),
        };
        match (self.loss, examples.targets()) {
            (Loss::SoftmaxCrossEntropy, Targets::Classes(targets)) => {
                let predicted = logits
                    .chunks_exact(self.graph.logits_width)
                    .map(|row| likeliest(row) as u32)
                    .collect();
                let truth = targets.iter().map(|class| *class as usize);
                evaluation.count_classes(self.graph.logits_width, truth, predicted);
            }
            (Loss::BinaryCrossEntropy, Targets::Values(targets)) => {
                let predicted = logits.iter().map(|logit| u32::from(*logit > 0.0)).collect();
                let truth = targets.iter().map(|target| usize::from(*target > 0.5));
                evaluation.count_classes(2, truth, predicted);
            }
            (_, Targets::Values(targets)) => evaluation.sum_errors(targets, logits),
            // `check_examples` has compared the targets with the loss.
            (_, Targets::Classes(_)) => unreachable!("targets of another kind than the loss"),
        }
        Ok(evaluation)
    }

    /// Logits and losses of all examples.
    fn forward(
        &mut self,
        parameters: &[Vec<f32>],
        examples: &Examples,
    ) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let rows = examples.rows();
        let widest = examples.inputs().iter().map(Input::columns).max();
        let batch_rows = (BATCH_ELEMENTS_MAX / widest.unwrap_or(1)).clamp(1, rows);
        let mut logits = Vec::with_capacity(rows * self.graph.logits_width);
        let mut losses = Vec::with_capacity(rows);
        let (own, target_dims) = (self.model.inputs(), self.model.output_dims());
        let outputs = [self.graph.logits.as_str(), &self.graph.loss];
        for from in (0..rows).step_by(batch_rows) {
            let chunk = from..rows.min(from + batch_rows);
            let given: Vec<Chunk<'_>> = examples
                .inputs()
                .iter()
                .map(|input| Chunk::of(input, &chunk))
                .collect();
            let mut inputs: Vec<(&str, View<'_>)> = Vec::new();
            for ((name, own), given) in self.graph.inputs.iter().zip(&own).zip(&given) {
                inputs.push((name, given.view(shape_of(&own.dims, chunk.len()))));
            }
            let target = match examples.targets() {
                Targets::Classes(all) => View::Indices(vec![chunk.len()], &all[chunk.clone()]),
                Targets::Values(all) => {
                    let width = elements(&target_dims);
                    let own = &all[chunk.start * width..chunk.end * width];
                    View::Numbers(shape_of(&target_dims, chunk.len()), own)
                }
            };
            inputs.push((&self.graph.target, target));
            let names = self.graph.parameters.iter();
            let known = self.model.parameters().iter().zip(parameters);
            for (name, (own, values)) in names.zip(known) {
                inputs.push((name, View::Numbers(sizes(&own.shape), values)));
            }
            let made = self.session.run(&inputs, &outputs)?;
            for (all, own) in [&mut logits, &mut losses].into_iter().zip(made) {
                all.extend(own);
            }
        }
        Ok((logits, losses))
    }
}

/// Some examples of an input.
pub(crate) enum Chunk<'a> {
    Numbers(Cow<'a, [f32]>),
    Indices(&'a [i64]),
}

impl<'a> Chunk<'a> {
    pub(crate) fn of(input: &'a Input, chunk: &Range<usize>) -> Self {
        let each = input.columns();
        let own = chunk.start * each..chunk.end * each;
        match input {
            Input::Numbers(all) => Chunk::Numbers(all.data()[own].into()),
            Input::Indices(all) => Chunk::Indices(&all.data()[own]),
            Input::Windows(all) => Chunk::Numbers(all.gathered(chunk.clone()).into()),
        }
    }

    /// The same in that shape.
    pub(crate) fn view(&self, shape: Vec<usize>) -> View<'_> {
        match self {
            Self::Numbers(all) => View::Numbers(shape, all),
            Self::Indices(all) => View::Indices(shape, all),
        }
    }
}

impl Evaluation {
    fn count_classes(
        &mut self,
        classes: usize,
        truth: impl Iterator<Item = usize>,
        predicted: Vec<u32>,
    ) {
        let mut confusion = vec![0; classes * classes];
        for (class, prediction) in truth.zip(&predicted) {
            confusion[class * classes + *prediction as usize] += 1;
        }
        self.correct = confusion.iter().step_by(classes + 1).sum();
        self.classes = classes;
        self.confusion = confusion;
        self.predictions = Predictions::Classes(predicted);
    }

    fn sum_errors(&mut self, targets: &[f32], outputs: Vec<f32>) {
        for (output, target) in outputs.iter().zip(targets) {
            let difference = f64::from(*output) - f64::from(*target);
            self.absolute_error_sum += difference.abs();
            self.squared_error_sum += difference * difference;
        }
        self.predictions = Predictions::Values(outputs);
    }
}

/// Index of the largest of a row's outputs; the lowest of equals.
pub(crate) fn likeliest(row: &[f32]) -> usize {
    let larger = |best: usize, next: usize| if row[next] > row[best] { next } else { best };
    (1..row.len()).fold(0, larger)
}
