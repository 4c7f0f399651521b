//! Sessions that last over rounds, and the steps of each phase.

use std::ops::Range;

use fl_model::{
    DataSpec, DeviceId, Digest, EvaluationCounters, FeatureStatistics, FixedPoint, Inputs, JobId,
    Loss, ModelOptions, Normalization, Reason, RoundNumber, TensorInput, TrainingSpec, Window,
    WindowLayout, statistics_ranges,
};
use onnx_train::{
    Evaluation, Evaluator, Examples, Input, LocalTrainer, LocalTraining, Matrix, Model, Targets,
    Windows, encode, prepare, scale,
};

use super::Failure;
use crate::data::{Answers, Raw, Rows, Table, Tensor};

/// Begins what the training seed is made of, so that no other hash of ours is the same.
const SEED_DOMAIN: &[u8] = b"fl-edge-training-seed-1";

/// The seed of a device's training in a round: SHA-256 over job, round, device and the plan's seed, each
/// text preceded by its length. Never over the attempt, so that training again gives the same bits.
pub fn training_seed(job: &JobId, round: RoundNumber, device: &DeviceId, seed: u64) -> [u8; 32] {
    let mut bytes = SEED_DOMAIN.to_vec();
    for text in [job.as_str(), device.as_str()] {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(round.0.to_be_bytes());
    bytes.extend(seed.to_be_bytes());
    Digest::of(&bytes).0
}

/// The statistics of rows, over encoded columns, also where examples are windows, which may overlap; or of
/// tensors, over those channels that they scale.
///
/// # Errors
/// A [`Failure`]: a value too large to be summed exactly, or features that cannot be encoded.
pub fn statistics(inputs: &Inputs, rows: &Rows) -> Result<FeatureStatistics, Failure> {
    let of = match (inputs, &rows.raw) {
        (Inputs::Table(of), Raw::Table(table)) => {
            let encoded = encode(&of.features, &table.numbers)?;
            FeatureStatistics::of(encoded.data(), encoded.columns())
        }
        (Inputs::Tensors(of), Raw::Tensors(tensors)) => of_tensors(of, tensors, rows.len()),
        _ => return Err(of_another_job()),
    };
    of.ok_or_else(|| {
        Failure::new(
            Reason::DataUnusable,
            "a value of the training rows is too large to be summed exactly: use another unit",
        )
    })
}

fn of_tensors(
    inputs: &[TensorInput],
    tensors: &[Tensor],
    examples: usize,
) -> Option<FeatureStatistics> {
    let mut all = FeatureStatistics {
        rows: examples as u64,
        ..FeatureStatistics::empty(0)
    };
    for (input, tensor) in inputs.iter().zip(tensors) {
        if let (Some((axis, _)), Tensor::Numbers(numbers)) = (input.channels(), tensor) {
            all.join(FeatureStatistics::of_tensors(numbers, &input.dims(), axis)?);
        }
    }
    Some(all)
}

/// Rows that were not read for the plan they are used for.
fn of_another_job() -> Failure {
    let what = "the rows are of another job: this should not happen, please report it";
    Failure::new(Reason::DataUnusable, what)
}

/// What a job's data look like to its model.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The inputs, and how examples are made of rows.
    pub data: &'a DataSpec,
    /// The inputs' scale.
    pub normalization: &'a Normalization,
    /// What judges the answers.
    pub loss: Loss,
    /// How the model is taken.
    pub options: &'a ModelOptions,
}

impl View<'_> {
    /// What goes into a model whose inputs have these names.
    fn examples(&self, rows: &Rows, names: &[String]) -> Result<Examples, Failure> {
        let inputs = match (&self.data.inputs, &rows.raw) {
            (Inputs::Table(of), Raw::Table(table)) => {
                let features = prepare(&of.features, self.normalization, &table.numbers)?;
                vec![input(of.window.as_ref(), table, features)?]
            }
            (Inputs::Tensors(of), Raw::Tensors(tensors)) => {
                in_order(of, tensors, names, |own, columns, raw| {
                    Ok(scale(own, columns, self.normalization, raw)?)
                })?
            }
            _ => return Err(of_another_job()),
        };
        let targets = targets(self.loss, &rows.answers)?;
        Ok(Examples::of_inputs(inputs, targets)?)
    }
}

/// Tensors in the order of a model's inputs, those of numbers as `numbers` makes them of their columns of
/// the statistics and of what is raw.
fn in_order(
    inputs: &[TensorInput],
    tensors: &[Tensor],
    names: &[String],
    numbers: impl Fn(&TensorInput, Range<usize>, &[f32]) -> Result<Matrix, Failure>,
) -> Result<Vec<Input>, Failure> {
    let mut all = Vec::new();
    let columns = statistics_ranges(inputs);
    for ((input, tensor), columns) in inputs.iter().zip(tensors).zip(columns) {
        let elements = usize::try_from(input.elements()).unwrap_or(usize::MAX);
        let made = match tensor {
            Tensor::Numbers(all) => Input::Numbers(numbers(input, columns, all)?),
            Tensor::Indices(all) => Input::Indices(Matrix::new(elements, all.clone())?),
        };
        all.push((&input.name, made));
    }
    let find = |name: &String| {
        let found = all.iter().position(|(own, _)| *own == name);
        let what = || format!("the job has no input {name:?}, which the model takes");
        let at = found.ok_or_else(|| Failure::new(Reason::ModelUnusable, what()))?;
        Ok(all.swap_remove(at).1)
    };
    names.iter().map(find).collect()
}

/// The examples over what was made of their rows: the rows themselves, or the job's windows of them.
fn input(window: Option<&Window>, table: &Table, features: Matrix) -> Result<Input, Failure> {
    let (Some(window), Some(starts)) = (window, &table.starts) else {
        return Ok(Input::Numbers(features));
    };
    let length = window.length as usize;
    let windows = Windows::new(features, starts.clone(), length, window.layout)?;
    Ok(Input::Windows(windows))
}

/// Raw examples, as an exported model whose inputs have these names takes them: windows are time first.
///
/// # Errors
/// A [`Failure`]: the rows were not read for this job, or the model is of another.
pub fn raw_inputs(data: &DataSpec, rows: &Rows, names: &[String]) -> Result<Vec<Input>, Failure> {
    match (&data.inputs, &rows.raw) {
        (Inputs::Table(of), Raw::Table(table)) => {
            let raw = Matrix::new(table.columns, table.numbers.clone())?;
            let layout = WindowLayout::TimeFirst;
            let window = of.window.map(|window| Window { layout, ..window });
            Ok(vec![input(window.as_ref(), table, raw)?])
        }
        (Inputs::Tensors(of), Raw::Tensors(tensors)) => {
            in_order(of, tensors, names, |own, _, raw| {
                let elements = usize::try_from(own.elements()).unwrap_or(usize::MAX);
                Ok(Matrix::new(elements, raw.to_vec())?)
            })
        }
        _ => Err(of_another_job()),
    }
}

/// Answers as the loss takes them.
///
/// # Errors
/// A [`Failure`]: the label does not suit the loss.
pub fn targets(loss: Loss, answers: &Answers) -> Result<Targets, Failure> {
    let unfit = |what: &str| Err(Failure::new(Reason::ModelUnusable, what));
    match (loss, answers) {
        (Loss::SoftmaxCrossEntropy, Answers::Classes(classes)) => Ok(Targets::Classes(
            classes.iter().map(|&class| i64::from(class)).collect(),
        )),
        (Loss::BinaryCrossEntropy, Answers::Classes(classes)) if classes.iter().any(|&c| c > 1) => {
            unfit(
                "binary cross-entropy takes two classes, the job's label has more: use softmax_cross_entropy",
            )
        }
        (_, Answers::Classes(classes)) => Ok(Targets::Values(
            classes.iter().map(|&class| class as f32).collect(),
        )),
        (loss, Answers::Values(_)) if loss.is_classification() => unfit(
            "the job's label is a number and its loss takes classes: say above or classes in the job's label",
        ),
        (_, Answers::Values(values)) => Ok(Targets::Values(values.clone())),
    }
}

/// Training and evaluation sessions, kept as long as model and hyper-parameters stay the same.
#[derive(Default)]
pub struct Workshop {
    trainer: Option<(Taken, LocalTrainer)>,
    evaluator: Option<(Taken, Loss, Evaluator)>,
}

/// A model by its digest, and how it is taken.
type Taken = (Digest, ModelOptions);

impl Workshop {
    /// Runs the local epochs on the rows.
    ///
    /// # Errors
    /// A [`Failure`]: the model, the features and the rows do not fit each other, or training diverged.
    pub fn train(
        &mut self,
        model: &[u8],
        spec: &TrainingSpec,
        view: View<'_>,
        rows: &Rows,
        parameters: &[Vec<f32>],
        seed: [u8; 32],
    ) -> Result<LocalTraining, Failure> {
        let taken = (Digest::of(model), view.options.clone());
        let kept = self.trainer.take();
        // A schedule gives each round another learning rate, which is no part of the session.
        let at_its_rate = |of: &TrainingSpec| TrainingSpec {
            learning_rate: spec.learning_rate,
            ..of.clone()
        };
        let kept = kept.filter(|(of, own)| *of == taken && at_its_rate(own.spec()) == *spec);
        let (_, trainer) = match kept {
            Some(kept) => self.trainer.insert(kept),
            None => {
                let model = Model::new(model, view.options);
                let trainer = LocalTrainer::new(model, spec)?;
                self.trainer.insert((taken, trainer))
            }
        };
        let mut examples = view.examples(rows, &trainer.inputs())?;
        if let Raw::Table(table) = &rows.raw
            && let Some(weights) = &table.weights
        {
            examples = examples.weighted(weights.clone())?;
        }
        trainer.set_learning_rate(spec.learning_rate)?;
        Ok(trainer.run(parameters, &examples, seed)?)
    }

    /// Runs the model over the rows.
    ///
    /// # Errors
    /// A [`Failure`]: the model, the features and the rows do not fit each other, or a loss is not finite.
    pub fn evaluate(
        &mut self,
        model: &[u8],
        view: View<'_>,
        rows: &Rows,
        parameters: &[Vec<f32>],
    ) -> Result<Evaluation, Failure> {
        let taken = (Digest::of(model), view.options.clone());
        let kept = self.evaluator.take();
        let kept = kept.filter(|(of, with, _)| *of == taken && *with == view.loss);
        let (_, _, evaluator) = match kept {
            Some(kept) => self.evaluator.insert(kept),
            None => {
                let model = Model::new(model, view.options);
                let evaluator = Evaluator::new(model, view.loss)?;
                self.evaluator.insert((taken, view.loss, evaluator))
            }
        };
        let examples = view.examples(rows, &evaluator.inputs())?;
        Ok(evaluator.run(parameters, &examples)?)
    }
}

/// Why a sum over rows is no figure that can be added up exactly.
pub(super) fn unsummable(what: &str, rows: &str, value: f64) -> String {
    if value.is_finite() {
        return format!(
            "the {what} over the {rows} rows is {value}, too large to be added up exactly: give the label in another unit, or lower the learning rate"
        );
    }
    format!(
        "the {what} over the {rows} rows is {value}: the model diverged, lower the learning rate"
    )
}

/// An evaluation as integers.
///
/// # Errors
/// A [`Failure`] where a sum is not finite or too large for [`FixedPoint::loss`].
pub fn counters(evaluation: &Evaluation) -> Result<EvaluationCounters, Failure> {
    let fixed = |what: &str, value: f64| {
        FixedPoint::loss(value)
            .ok_or_else(|| Failure::new(Reason::Diverged, unsummable(what, "test", value)))
    };
    Ok(EvaluationCounters {
        examples: evaluation.examples,
        correct: evaluation.correct,
        loss: fixed("sum of losses", evaluation.loss_sum)?,
        confusion: evaluation.confusion.clone(),
        absolute_error: fixed("sum of errors", evaluation.absolute_error_sum)?,
        squared_error: fixed("sum of squared errors", evaluation.squared_error_sum)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_depends_on_each_of_its_parts() {
        let seed = |job: &str, round, device: &str, seed| {
            let job = JobId::new(job).unwrap();
            let device = DeviceId::new(device).unwrap();
            training_seed(&job, RoundNumber(round), &device, seed)
        };
        let one = seed("air", 1, "a", 7);
        assert_eq!(one, seed("air", 1, "a", 7));
        for other in [
            seed("ai", 1, "ra", 7),
            seed("air", 2, "a", 7),
            seed("air", 1, "b", 7),
            seed("air", 1, "a", 8),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn answers_fit_the_loss_or_are_refused() {
        let classes = Answers::Classes(vec![0, 2]);
        let values = Answers::Values(vec![1.5]);
        let softmax = targets(Loss::SoftmaxCrossEntropy, &classes);
        assert_eq!(softmax, Ok(Targets::Classes(vec![0, 2])));
        let squared = targets(Loss::MeanSquaredError, &values);
        assert_eq!(squared, Ok(Targets::Values(vec![1.5])));
        let check = |loss, answers, part: &str| {
            let failure = targets(loss, answers).unwrap_err();
            assert_eq!(failure.reason, Reason::ModelUnusable);
            assert!(failure.detail.contains(part), "{failure}");
        };
        check(Loss::BinaryCrossEntropy, &classes, "two classes");
        check(Loss::BinaryCrossEntropy, &values, "is a number");
        check(Loss::SoftmaxCrossEntropy, &values, "is a number");
    }
}
