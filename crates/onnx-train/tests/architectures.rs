//! Whole networks: gradients and a training curve against PyTorch's.
//!
//! The networks and what PyTorch says of them, in float64, are made by
//! `onnx-grad/architectures/make_architectures.py`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use fl_model::{Loss, TrainingSpec};
use flate2::read::GzDecoder;
use onnx_grad::{ForwardModel, Limits, Parameter, Role};
use onnx_train::{Examples, Input, LocalTrainer, Matrix, Targets, gradients};
use serde::Deserialize;
use support::runtime;

/// How far a gradient may be from PyTorch's, relative to its norm.
const GRADIENT_TOLERANCE: f64 = 1e-4;
/// How far a loss of the training curve may be from PyTorch's, relative to it.
const LOSS_TOLERANCE: f64 = 1e-3;
/// A gradient below this share of the largest is rounding: a bias before a normalisation has none.
const NEGLIGIBLE: f64 = 1e-6;

/// Streams of random numbers, as in the script.
const INPUTS: u64 = 0;
const TARGETS: u64 = 1;
const PARAMETERS: u64 = 16;

#[derive(Deserialize)]
struct Golden {
    name: String,
    batch: usize,
    dims: Vec<usize>,
    classes: usize,
    high: u64,
    count: usize,
    learning_rate: f32,
    losses: Vec<f64>,
    parameters: Vec<GoldenParameter>,
}

#[derive(Deserialize)]
struct GoldenParameter {
    name: String,
    base: f32,
    scale: f32,
    norm: Option<f64>,
    #[serde(default)]
    products: Vec<f64>,
}

/// SplitMix64 (Steele, Lea and Flood 2014) at stream · 2³² + index.
fn bits(stream: u64, index: usize) -> u64 {
    let place = (stream << 32) + index as u64 + 1;
    let mut z = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// In [-1, 1).
fn uniform(stream: u64, count: usize) -> Vec<f32> {
    let number = |index| ((bits(stream, index) >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32;
    (0..count).map(number).collect()
}

fn below(stream: u64, count: usize, high: u64) -> Vec<i64> {
    let number = |index| ((bits(stream, index) >> 33) % high) as i64;
    (0..count).map(number).collect()
}

/// The sum of the numbers under random signs.
fn product(stream: u64, which: usize, numbers: &[f32]) -> f64 {
    let sign = |index| {
        if bits(stream, index) >> which & 1 == 1 {
            1.0
        } else {
            -1.0
        }
    };
    let signed = numbers.iter().enumerate();
    signed
        .map(|(index, number)| sign(index) * f64::from(*number))
        .sum()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/architectures")
}

fn all() -> Vec<Golden> {
    serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

struct Network {
    model: Vec<u8>,
    loss: Loss,
    layout: Vec<Parameter>,
    /// The golden parameter of each of the layout, by number.
    known: Vec<usize>,
    parameters: Vec<Vec<f32>>,
    examples: Examples,
    golden: Golden,
}

fn load(name: &str) -> Network {
    let golden = all()
        .into_iter()
        .find(|golden| golden.name == name)
        .unwrap();
    let file = std::fs::File::open(folder().join(format!("{name}.onnx.gz"))).unwrap();
    let mut model = Vec::new();
    GzDecoder::new(file).read_to_end(&mut model).unwrap();
    let forward = ForwardModel::parse(&model, &Limits::default()).unwrap();
    let layout = forward.parameters().to_vec();
    let number = |own: &Parameter| golden.parameters.iter().position(|of| of.name == own.name);
    let known: Vec<usize> = layout.iter().map(|own| number(own).unwrap()).collect();
    let fill = |(own, &number): (&Parameter, &usize)| {
        let GoldenParameter { base, scale, .. } = golden.parameters[number];
        let numbers = uniform(PARAMETERS + number as u64, own.initial.len());
        numbers.into_iter().map(|of| base + scale * of).collect()
    };
    let parameters = layout.iter().zip(&known).map(fill).collect();
    let columns: usize = golden.dims.iter().product();
    let count = golden.batch * columns;
    let input = match golden.high {
        0 => Input::Numbers(Matrix::new(columns, uniform(INPUTS, count)).unwrap()),
        high => Input::Indices(Matrix::new(columns, below(INPUTS, count, high)).unwrap()),
    };
    let outputs: u64 = forward.output_dims().iter().product();
    let (loss, targets) = match golden.classes {
        0 => {
            let targets = uniform(TARGETS, golden.batch * outputs as usize);
            (Loss::MeanSquaredError, Targets::Values(targets))
        }
        classes => {
            let targets = below(TARGETS, golden.batch, classes as u64);
            (Loss::SoftmaxCrossEntropy, Targets::Classes(targets))
        }
    };
    Network {
        examples: Examples::of_inputs(vec![input], targets).unwrap(),
        model,
        loss,
        layout,
        known,
        parameters,
        golden,
    }
}

/// Every gradient is PyTorch's: the products' differences, squared, are on average the square of the
/// distance (Johnson and Lindenstrauss 1984; signs after Achlioptas 2003).
fn check_gradients(network: &Network) {
    let Network { golden, .. } = network;
    let weights = |own: &&Parameter| own.role == Role::Weight;
    let count: usize = network
        .layout
        .iter()
        .filter(weights)
        .map(|own| own.initial.len())
        .sum();
    assert_eq!(count, golden.count, "weights");
    let made = gradients(
        &network.model,
        network.loss,
        &network.parameters,
        &network.examples,
        [0; 32],
    );
    let made = made.unwrap();
    let loss = golden.losses[0];
    assert!(
        (made.loss - loss).abs() < LOSS_TOLERANCE * loss,
        "loss {} instead of {loss}",
        made.loss
    );
    let norms = golden.parameters.iter().filter_map(|own| own.norm);
    let largest = norms.fold(0.0, f64::max);
    let mut worst = (0.0, "");
    for ((own, &number), gradient) in network
        .layout
        .iter()
        .zip(&network.known)
        .zip(&made.by_parameter)
    {
        let Some(norm) = golden.parameters[number].norm else {
            assert_eq!(own.role, Role::Statistic, "{}", own.name);
            continue;
        };
        let products = &golden.parameters[number].products;
        let distance = products.iter().enumerate().map(|(which, expected)| {
            (product(PARAMETERS + number as u64, which, gradient) - expected).powi(2)
        });
        let distance = (distance.sum::<f64>() / products.len() as f64).sqrt();
        let relative = distance / norm.max(NEGLIGIBLE * largest);
        if relative > worst.0 {
            worst = (relative, &own.name);
        }
        assert!(
            relative <= GRADIENT_TOLERANCE,
            "gradient of {}: {relative:.1e} from PyTorch's, whose norm is {norm:.1e}",
            own.name
        );
    }
    println!(
        "{}: the worst gradient is that of {}, {:.1e} away",
        golden.name, worst.1, worst.0
    );
}

/// The loss of every step of plain descent on one batch is PyTorch's.
fn check_curve(network: &Network) {
    let golden = &network.golden;
    for (steps, expected) in (1..).zip(&golden.losses) {
        let spec = TrainingSpec {
            local_epochs: steps,
            batch_size: golden.batch as u32,
            ..TrainingSpec::plain(network.loss, golden.learning_rate)
        };
        let mut trainer = LocalTrainer::new(&network.model, &spec).unwrap();
        let trained = trainer
            .run(&network.parameters, &network.examples, [0; 32])
            .unwrap();
        let error = (trained.loss - expected).abs() / expected;
        assert!(
            error <= LOSS_TOLERANCE,
            "step {steps}: loss {} instead of {expected}",
            trained.loss
        );
    }
}

macro_rules! networks {
    ($($name:ident),* $(,)?) => {
        const NETWORKS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                runtime();
                let network = load(stringify!($name));
                check_gradients(&network);
                check_curve(&network);
            }
        )*
    };
}

networks! {
    softmax_regression,
    mlp,
    autoencoder,
    lenet5,
    mcmahan_cnn,
    resnet8,
    mobilenet_v1,
    ds_cnn,
    cnn1d,
    lstm,
    gru,
    transformer,
    mobilenet_v2,
    unet,
}

#[test]
fn every_network_is_tested() {
    let golden = all();
    let listed: BTreeSet<&str> = golden.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(listed, NETWORKS.iter().copied().collect());
}
