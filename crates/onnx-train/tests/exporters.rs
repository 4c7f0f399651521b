//! What exporters write: small models of every family, as each framework's own exporter gives them, train as
//! they do in their framework.
//!
//! The models and their losses, in float64, are made by the scripts in `onnx-grad/exporters`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use fl_model::Loss;
use flate2::read::GzDecoder;
use onnx_grad::{ForwardModel, Limits, Role};
use onnx_train::testing::{below, uniform};
use onnx_train::{
    Examples, Input, LocalTrainer, LocalTraining, Matrix, Targets, gradients, initial_parameters,
};
use serde::Deserialize;
use support::{check_all, must, runtime, sgd};

/// Examples of every batch.
const ROWS: usize = 4;
/// Streams of random numbers, as in the scripts.
const INPUTS: u64 = 0;
const TARGETS: u64 = 1;
/// How far a loss of the training curve may be from the framework's, for each 1 + loss.
const LOSS_TOLERANCE: f64 = 1e-4;
/// Half the distance over which the difference quotient along a gradient is taken, for a gradient of norm 1.
const STEP: f64 = 1e-3;
/// How far the quotient may be from the gradient's square, relative to it.
const DIFFERENCE_TOLERANCE: f64 = 2e-2;

/// A gradient whose norm is below this is none, such as that of a bias before a normalisation.
const NEGLIGIBLE: f64 = 1e-4;

/// A line of `golden.json`.
#[derive(Deserialize)]
struct Golden {
    name: String,
    exporter: String,
    opset: u32,
    loss: String,
    /// Of one example.
    dims: Vec<usize>,
    /// Numbers an example that the model gives.
    outputs: usize,
    /// The input is indices below this; 0 where it is numbers.
    high: u64,
    learning_rate: f32,
    /// The framework's loss before each step; none where what it draws at random is not what we draw.
    losses: Vec<f64>,
}

impl Golden {
    fn file(&self) -> String {
        format!("{}_{}_{}", self.exporter, self.name, self.opset)
    }

    fn loss(&self) -> Loss {
        match self.loss.as_str() {
            "softmax_cross_entropy" => Loss::SoftmaxCrossEntropy,
            "binary_cross_entropy" => Loss::BinaryCrossEntropy,
            "mean_squared_error" => Loss::MeanSquaredError,
            other => panic!("unknown loss {other}"),
        }
    }

    fn examples(&self) -> Examples {
        let columns = self.dims.iter().product();
        let count = ROWS * columns;
        let input = match self.high {
            0 => Input::Numbers(Matrix::new(columns, uniform(INPUTS, count)).unwrap()),
            high => Input::Indices(Matrix::new(columns, below(INPUTS, count, high)).unwrap()),
        };
        let numbers = ROWS * self.outputs;
        let targets = match self.loss() {
            Loss::SoftmaxCrossEntropy => {
                Targets::Classes(below(TARGETS, ROWS, self.outputs as u64))
            }
            Loss::BinaryCrossEntropy => {
                let ones = below(TARGETS, numbers, 2).into_iter();
                Targets::Values(ones.map(|one| one as f32).collect())
            }
            _ => Targets::Values(uniform(TARGETS, numbers)),
        };
        Examples::of_inputs(vec![input], targets).unwrap()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/exporters")
}

fn golden() -> Vec<Golden> {
    serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

fn check(golden: &Golden) {
    let file = std::fs::File::open(folder().join(format!("{}.onnx.gz", golden.file())));
    let mut model = Vec::new();
    GzDecoder::new(file.unwrap())
        .read_to_end(&mut model)
        .unwrap();
    let parameters = must(initial_parameters(&model));
    let spec = sgd(golden.loss(), golden.learning_rate);
    let mut trainer = must(LocalTrainer::new(&model, &spec));
    let examples = golden.examples();
    let mut step = |from: &[Vec<f32>]| must(trainer.run(from, &examples, [7; 32]));
    check_curve(golden, &parameters, &mut step);
    if golden.losses.is_empty() {
        // What is random meets the examples in their order.
        let loss = |from: &[Vec<f32>]| {
            let made = gradients(&model, golden.loss(), from, &examples, [7; 32]);
            made.unwrap().loss
        };
        check_gradients(golden, &model, &parameters, loss);
    } else {
        check_gradients(golden, &model, &parameters, |from| step(from).loss);
    }
}

/// The loss before every step of plain descent on one batch is the framework's.
fn check_curve(
    golden: &Golden,
    parameters: &[Vec<f32>],
    mut step: impl FnMut(&[Vec<f32>]) -> LocalTraining,
) {
    let mut parameters = parameters.to_vec();
    for (number, expected) in golden.losses.iter().enumerate() {
        let trained = step(&parameters);
        parameters = trained.parameters;
        let loss = trained.loss;
        assert!(
            (loss - expected).abs() <= LOSS_TOLERANCE * (1.0 + expected),
            "step {number}: loss {loss} instead of {expected}"
        );
    }
}

/// Along the gradient of each parameter the loss rises as the gradient says.
fn check_gradients(
    golden: &Golden,
    model: &[u8],
    parameters: &[Vec<f32>],
    mut loss_of: impl FnMut(&[Vec<f32>]) -> f64,
) {
    let examples = golden.examples();
    let made = gradients(model, golden.loss(), parameters, &examples, [7; 32]).unwrap();
    let model = ForwardModel::parse(model, &Limits::default()).unwrap();
    let each = model.parameters().iter().zip(&made.by_parameter);
    let weights = each
        .enumerate()
        .filter(|(_, (own, _))| own.role == Role::Weight);
    for (index, (own, gradient)) in weights {
        let square: f64 = gradient.iter().map(|own| f64::from(*own).powi(2)).sum();
        let norm = square.sqrt();
        if norm < NEGLIGIBLE {
            continue;
        }
        let mut loss_at = |by: f64| {
            let mut moved = parameters.to_vec();
            for (to, own) in moved[index].iter_mut().zip(gradient) {
                *to += (by * f64::from(*own) / norm) as f32;
            }
            loss_of(&moved)
        };
        let quotient = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
        assert!(
            (quotient - norm).abs() <= DIFFERENCE_TOLERANCE * (norm + 0.01),
            "along the gradient of {}: {quotient} instead of {norm}",
            own.name
        );
    }
}

/// Pad that goes around, and RNN by Relu.
const REFUSED_BY_TRACT: &[&str] = &[
    "dynamo_pad_circular_22",
    "torchscript_rnn_relu_13",
    "torchscript_rnn_relu_20",
];

fn check_exporter(exporter: &str) {
    runtime();
    let mut all = golden();
    all.retain(|own| own.exporter == exporter);
    check_all(&all, Golden::file, check, REFUSED_BY_TRACT);
}

macro_rules! exporters {
    ($($name:ident),* $(,)?) => {
        const EXPORTERS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check_exporter(stringify!($name));
            }
        )*
    };
}

exporters! {
    dynamo,
    skl2onnx,
    tf2onnx,
    torchscript,
}

#[test]
fn every_model_is_tested() {
    let golden = golden();
    let listed: BTreeSet<&str> = golden.iter().map(|own| own.exporter.as_str()).collect();
    assert_eq!(listed, EXPORTERS.iter().copied().collect());
    let named: BTreeSet<String> = golden.iter().map(|own| own.file() + ".onnx.gz").collect();
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let models: BTreeSet<String> = files.filter(|name| name.ends_with(".gz")).collect();
    assert_eq!(named, models);
}
