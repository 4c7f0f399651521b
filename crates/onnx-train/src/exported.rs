//! A finished model on raw columns or tensors, judged as its user would judge it.

use fl_model::Loss;
use onnx_grad::{Ending, Interface, Port, ending};

use crate::engine::{Session, View, load};
use crate::error::TrainError;
use crate::evaluator::{Chunk, likeliest};
use crate::examples::{Input, Targets};

/// Examples that go through the model at once.
const EXAMPLES_MAX: usize = 4096;

/// Numbers that go through the model at once, at most; a single large example still goes.
const ELEMENTS_MAX: usize = 1 << 20;

/// Smallest probability whose logarithm is taken: that of the smallest normal number.
const PROBABILITY_MIN: f64 = f32::MIN_POSITIVE as f64;

/// A model that takes raw columns, `[N, C]` or windows of them `[N, T, C]`, or raw tensors, as `export` makes
/// it.
pub struct ExportedModel {
    session: Box<dyn Session>,
    interface: Interface,
    /// Place among the outputs of the one that is judged.
    output: usize,
    ending: Ending,
}

/// Raw data, one for each input of the model in its order; see [`ExportedModel::inputs`].
type Raw<'a> = &'a [Input];

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
    /// Loads a model whose first output is judged.
    ///
    /// # Errors
    /// It is no model, or the runtime cannot load it.
    pub fn new(model: &[u8]) -> Result<Self, TrainError> {
        Self::of_output(model, None)
    }

    /// The same for the output with that name.
    ///
    /// # Errors
    /// As for [`Self::new`], or there is no such output.
    pub fn of_output(model: &[u8], name: Option<&str>) -> Result<Self, TrainError> {
        let session = load(model)?;
        let interface = Interface::of(model)?;
        let mut outputs = interface.outputs.iter();
        let output = match name {
            None => 0,
            Some(name) => outputs
                .position(|own| own == name)
                .ok_or_else(|| TrainError::Examples(format!("the model has no output `{name}`")))?,
        };
        Ok(Self {
            ending: ending(model, name)?,
            interface,
            output,
            session,
        })
    }

    /// Names of the inputs, in the order of the model.
    pub fn inputs(&self) -> Vec<String> {
        let inputs = self.interface.inputs.iter();
        inputs.map(|input| input.name.clone()).collect()
    }

    /// What the judged output gives, row-major; `raw` has an input for each of the model's, in its order, and NaN is a
    /// missing value. Windows are given as their layout says, so for an exported model always time first.
    ///
    /// # Errors
    /// The inputs are not those of the model.
    pub fn predict(&mut self, raw: Raw<'_>) -> Result<Vec<f32>, TrainError> {
        let shapes = self.shapes(raw)?;
        let mut predicted = Vec::new();
        let rows = raw.first().map_or(0, Input::rows);
        let widest = raw.iter().map(Input::columns).max().unwrap_or(1);
        let at_once = (ELEMENTS_MAX / widest.max(1)).clamp(1, EXAMPLES_MAX);
        for from in (0..rows).step_by(at_once) {
            let chunk = from..rows.min(from + at_once);
            let given: Vec<Chunk<'_>> = raw.iter().map(|input| Chunk::of(input, &chunk)).collect();
            let mut values: Vec<(&str, View<'_>)> = Vec::new();
            for ((own, dims), given) in self.interface.inputs.iter().zip(&shapes).zip(&given) {
                let shape = std::iter::once(chunk.len()).chain(dims.iter().copied());
                values.push((&own.name, given.view(shape.collect())));
            }
            let output = &self.interface.outputs[self.output];
            let made = self.session.run(&values, &[output])?;
            predicted.extend(made.into_iter().flatten());
        }
        Ok(predicted)
    }

    /// The dimensions of an example of each input, where what is given fits them.
    fn shapes(&self, raw: Raw<'_>) -> Result<Vec<Vec<usize>>, TrainError> {
        let inputs = &self.interface.inputs;
        if inputs.len() != raw.len() {
            let (takes, given) = (inputs.len(), raw.len());
            let what = format!("the model takes {takes} inputs, {given} are given");
            return Err(TrainError::Examples(what));
        }
        let shape = |(own, given): (&Port, &Input)| match (own.dims.clone(), given) {
            (Some(dims), Input::Windows(windows)) if dims == windows.dims() => Ok(dims),
            (Some(dims), Input::Numbers(_) | Input::Indices(_))
                if dims.iter().product::<usize>() == given.columns() =>
            {
                Ok(dims)
            }
            (dims, _) => {
                let (name, columns) = (&own.name, given.columns());
                Err(TrainError::Examples(format!(
                    "the model's input `{name}` takes {:?}, examples of {columns} elements are given; is it of another job?",
                    dims.unwrap_or_default()
                )))
            }
        };
        inputs.iter().zip(raw).map(shape).collect()
    }

    /// Compares the model's outputs with what the rows should give.
    ///
    /// # Errors
    /// The columns or the outputs are not those of the model and the loss.
    pub fn score(
        &mut self,
        raw: Raw<'_>,
        targets: &Targets,
        loss: Loss,
    ) -> Result<Score, TrainError> {
        let outputs = self.predict(raw)?;
        let rows = raw.first().map_or(0, Input::rows);
        let mut score = Score {
            examples: rows as u64,
            correct: 0,
            loss_sum: 0.0,
            absolute_error_sum: 0.0,
        };
        match targets {
            Targets::Classes(classes) => {
                let width = outputs.len() / rows.max(1);
                if classes.len() != rows || width < 2 {
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
                let width = values.len() / rows.max(1);
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
