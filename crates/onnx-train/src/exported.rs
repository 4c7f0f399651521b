//! A finished model on raw columns, judged as its user would judge it.

use std::borrow::Cow;

use fl_model::Loss;
use onnx_grad::{Ending, ending};
use ort::session::Session;
use ort::value::TensorRef;

use crate::error::TrainError;
use crate::evaluator::likeliest;
use crate::examples::{Input, Targets};
use crate::runtime::session;

/// Examples that go through the model at once.
const EXAMPLES_MAX: usize = 4096;

/// Numbers of raw columns that go through the model at once, at most; a single long window still goes.
const ELEMENTS_MAX: usize = 1 << 20;

/// Smallest probability whose logarithm is taken: that of the smallest normal number.
const PROBABILITY_MIN: f64 = f32::MIN_POSITIVE as f64;

/// A model that takes raw columns, `[N, C]` or windows of them `[N, T, C]`, as `export` makes it.
pub struct ExportedModel {
    session: Session,
    ending: Ending,
}

/// How a finished model did on examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Examples.
    pub examples: u64,
    /// Examples whose class was told; 0 for regression.
    pub correct: u64,
    /// Sum of the examples' losses.
    pub loss_sum: f64,
    /// Sum of absolute differences over all outputs; 0 for classification.
    pub absolute_error_sum: f64,
}

impl ExportedModel {
    /// Loads a model.
    ///
    /// # Errors
    /// It is no model, or the runtime cannot load it.
    pub fn new(model: &[u8]) -> Result<Self, TrainError> {
        Ok(Self {
            ending: ending(model)?,
            session: session(model)?,
        })
    }

    /// The model's outputs, row-major; NaN in `raw` is a missing value. Windows are given as their layout
    /// says, so for an exported model always time first.
    ///
    /// # Errors
    /// The columns are not those of the model, or `raw` is no numbers.
    pub fn predict(&mut self, raw: &Input) -> Result<Vec<f32>, TrainError> {
        let mut predicted = Vec::new();
        let each = raw.columns();
        let at_once = (ELEMENTS_MAX / each.max(1)).clamp(1, EXAMPLES_MAX);
        for from in (0..raw.rows()).step_by(at_once) {
            let chunk = from..raw.rows().min(from + at_once);
            let (own, numbers): (Vec<usize>, Cow<'_, [f32]>) = match raw {
                Input::Numbers(all) => {
                    let numbers = &all.data()[chunk.start * each..chunk.end * each];
                    (vec![each], numbers.into())
                }
                Input::Windows(all) => (all.dims().into(), all.gathered(chunk.clone()).into()),
                Input::Indices(_) => {
                    let what = "raw columns are numbers, indices are given";
                    return Err(TrainError::Examples(what.to_owned()));
                }
            };
            let shape: Vec<usize> = std::iter::once(chunk.len()).chain(own).collect();
            let input = TensorRef::from_array_view((shape, &*numbers))?;
            let outputs = self.session.run(ort::inputs![input])?;
            predicted.extend_from_slice(outputs[0].try_extract_tensor::<f32>()?.1);
        }
        Ok(predicted)
    }

    /// Compares the model's outputs with what the rows should give.
    ///
    /// # Errors
    /// The columns or the outputs are not those of the model and the loss.
    pub fn score(
        &mut self,
        raw: &Input,
        targets: &Targets,
        loss: Loss,
    ) -> Result<Score, TrainError> {
        let outputs = self.predict(raw)?;
        let mut score = Score {
            examples: raw.rows() as u64,
            correct: 0,
            loss_sum: 0.0,
            absolute_error_sum: 0.0,
        };
        match targets {
            Targets::Classes(classes) => {
                let width = outputs.len() / raw.rows().max(1);
                if classes.len() != raw.rows() || width < 2 {
                    return Err(unfit(outputs.len(), classes.len()));
                }
                for (row, &class) in outputs.chunks_exact(width).zip(classes) {
                    let class = class as usize;
                    if class >= width {
                        return Err(unfit(width, class + 1));
                    }
                    score.correct += u64::from(likeliest(row) == class);
                    score.loss_sum -= self.log_probability(row, class);
                }
            }
            Targets::Values(values) => {
                if values.len() != outputs.len() {
                    return Err(unfit(outputs.len(), values.len()));
                }
                let width = values.len() / raw.rows().max(1);
                for (&output, &target) in outputs.iter().zip(values) {
                    let (output, target) = (f64::from(output), f64::from(target));
                    if loss == Loss::BinaryCrossEntropy {
                        let (told, cost) = self.binary(output, target);
                        score.correct += u64::from(told);
                        score.loss_sum += cost;
                        continue;
                    }
                    let distance = (output - target).abs();
                    score.absolute_error_sum += distance;
                    score.loss_sum += regression(loss, distance) / width as f64;
                }
            }
        }
        Ok(score)
    }

    /// log P(class) of a row of outputs.
    fn log_probability(&self, row: &[f32], class: usize) -> f64 {
        let own = f64::from(row[class]);
        match self.ending {
            Ending::LogProbabilities => own,
            Ending::Probabilities => own.max(PROBABILITY_MIN).ln(),
            Ending::Plain => {
                let largest = f64::from(row[likeliest(row)]);
                let sum: f64 = row.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
                own - largest - sum.ln()
            }
        }
    }

    /// Whether the class was told, and the loss.
    fn binary(&self, output: f64, target: f64) -> (bool, f64) {
        match self.ending {
            Ending::Probabilities => {
                let likely = |p: f64| p.max(PROBABILITY_MIN).ln();
                let cost = -(target * likely(output) + (1.0 - target) * likely(1.0 - output));
                ((output > 0.5) == (target > 0.5), cost)
            }
            _ => {
                let cost = output.max(0.0) + (-output.abs()).exp().ln_1p() - output * target;
                ((output > 0.0) == (target > 0.5), cost)
            }
        }
    }
}

/// The loss of one output at that distance from its target.
fn regression(loss: Loss, distance: f64) -> f64 {
    match loss {
        Loss::MeanAbsoluteError => distance,
        Loss::Huber { delta } => {
            let delta = f64::from(delta);
            match distance <= delta {
                true => 0.5 * distance * distance,
                false => delta * (distance - 0.5 * delta),
            }
        }
        _ => distance * distance,
    }
}

fn unfit(outputs: usize, targets: usize) -> TrainError {
    TrainError::Examples(format!(
        "the model gives {outputs} outputs where {targets} are expected; is it of another job?"
    ))
}
