//! The networks of `onnx-grad/architectures`, for tests and benchmarks: PyTorch's exports and what it says
//! of them in float64, with weights and examples drawn as the script there draws them. What is missing or
//! damaged ends the program that asks.

mod profile;

use std::fmt::Debug;
use std::io::Read as _;
use std::path::PathBuf;

use fl_model::Loss;
use flate2::read::GzDecoder;
use onnx_grad::{ForwardModel, Limits, Parameter};
use serde::Deserialize;

use crate::{Examples, Input, Matrix, Targets};

pub use profile::operator_times;

/// Streams of random numbers, as in the script.
const INPUTS: u64 = 0;
const TARGETS: u64 = 1;
const PARAMETERS: u64 = 16;
const SALTED: u64 = 1 << 16;

/// What PyTorch says of a network.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    /// Name of the network.
    pub name: String,
    /// What it is made of: dense, conv, recurrent or attention.
    pub family: String,
    /// Examples of the batch that PyTorch was given.
    pub batch: usize,
    /// Dimensions of one example.
    pub dims: Vec<usize>,
    /// Classes; 0 where the loss is the mean squared error.
    pub classes: usize,
    /// The input is indices below this; 0 where it is numbers.
    pub high: u64,
    /// Other numbers are drawn for another one.
    pub salt: u64,
    /// Weights.
    pub count: usize,
    /// Step size of the training curve.
    pub learning_rate: f32,
    /// Loss before each step of the training curve.
    pub losses: Vec<f64>,
    /// The parameters, in the order of the model file.
    pub parameters: Vec<GoldenParameter>,
}

/// A parameter of a network, and what PyTorch says of its gradient in the first step.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenParameter {
    /// Name of the initialiser.
    pub name: String,
    /// Added to the random numbers that it is filled with.
    pub base: f32,
    /// Multiplies them.
    pub scale: f32,
    /// Euclidean norm of the gradient; none for a running statistic.
    pub norm: Option<f64>,
    /// Sums of the gradient's elements under random signs.
    #[serde(default)]
    pub products: Vec<f64>,
}

/// Random bits: SplitMix64 (Steele, Lea and Flood 2014) at stream · 2³² + index.
pub fn bits(stream: u64, index: usize) -> u64 {
    let place = (stream << 32) + index as u64 + 1;
    let mut z = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Numbers of a stream in [-1, 1).
pub fn uniform(stream: u64, count: usize) -> Vec<f32> {
    let number = |index| ((bits(stream, index) >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32;
    (0..count).map(number).collect()
}

/// Whole numbers of a stream from 0 to below `high`.
pub fn below(stream: u64, count: usize, high: u64) -> Vec<i64> {
    let number = |index| ((bits(stream, index) >> 33) % high) as i64;
    (0..count).map(number).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/architectures")
}

/// What PyTorch says of every network.
pub fn golden() -> Vec<Golden> {
    let json = must("golden.json", std::fs::read(folder().join("golden.json")));
    must("golden.json", serde_json::from_slice(&json))
}

/// A network with weights.
#[derive(Debug)]
pub struct Network {
    /// The model, whose own weights are zeros.
    pub model: Vec<u8>,
    /// What its outputs are judged by.
    pub loss: Loss,
    /// Its parameters' layout.
    pub layout: Vec<Parameter>,
    /// The golden parameter of each of the layout, by number.
    pub known: Vec<usize>,
    /// Weights, in the order of the layout.
    pub parameters: Vec<Vec<f32>>,
    /// What PyTorch says.
    pub golden: Golden,
    output_dims: Vec<u64>,
}

impl Network {
    /// The network of that name.
    pub fn load(name: &str) -> Self {
        let known = golden().into_iter().find(|golden| golden.name == name);
        let golden = must(name, known.ok_or("there is no such network"));
        let file = folder().join(format!("{name}.onnx.gz"));
        let mut model = Vec::new();
        let mut file = GzDecoder::new(must(name, std::fs::File::open(file)));
        must(name, file.read_to_end(&mut model));
        let forward = must(name, ForwardModel::parse(&model, &Limits::default()));
        let layout = forward.parameters().to_vec();
        let number = |own: &Parameter| {
            let place = golden.parameters.iter().position(|of| of.name == own.name);
            must(&own.name, place.ok_or("not in golden.json"))
        };
        let known: Vec<usize> = layout.iter().map(number).collect();
        let fill = |(own, &number): (&Parameter, &usize)| {
            let GoldenParameter { base, scale, .. } = golden.parameters[number];
            let numbers = uniform(golden.stream(number), own.initial.len());
            numbers.into_iter().map(|of| base + scale * of).collect()
        };
        Self {
            loss: match golden.classes {
                0 => Loss::MeanSquaredError,
                _ => Loss::SoftmaxCrossEntropy,
            },
            parameters: layout.iter().zip(&known).map(fill).collect(),
            output_dims: forward.output_dims(),
            model,
            layout,
            known,
            golden,
        }
    }

    /// So many examples.
    pub fn examples(&self, rows: usize) -> Examples {
        let columns: usize = self.golden.dims.iter().product();
        let count = rows * columns;
        let salted = self.golden.salt * SALTED;
        let (inputs, targets) = (INPUTS + salted, TARGETS + salted);
        let input = match self.golden.high {
            0 => Input::Numbers(must("inputs", Matrix::new(columns, uniform(inputs, count)))),
            high => Input::Indices(must(
                "inputs",
                Matrix::new(columns, below(inputs, count, high)),
            )),
        };
        let outputs = self.output_dims.iter().product::<u64>() as usize;
        let targets = match self.golden.classes {
            0 => Targets::Values(uniform(targets, rows * outputs)),
            classes => Targets::Classes(below(targets, rows, classes as u64)),
        };
        must("examples", Examples::of_inputs(vec![input], targets))
    }
}

impl Golden {
    /// The stream of a parameter's numbers, by its number among the golden ones.
    pub fn stream(&self, number: usize) -> u64 {
        PARAMETERS + self.salt * SALTED + number as u64
    }
}

/// The value, or the end of the program.
fn must<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}
