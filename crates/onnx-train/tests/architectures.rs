//! Whole networks: gradients and a training curve against PyTorch's.
//!
//! The networks and what PyTorch says of them, in float64, are made by
//! `onnx-grad/architectures/make_architectures.py`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use fl_model::TrainingSpec;
use onnx_grad::{Parameter, Role};
use onnx_train::testing::{Network, bits, golden};
use onnx_train::{LocalTrainer, gradients};
use support::runtime;

/// How far a gradient may be from PyTorch's, relative to its norm.
const GRADIENT_TOLERANCE: f64 = 1e-4;
/// How far a loss of the training curve may be from PyTorch's, relative to it.
const LOSS_TOLERANCE: f64 = 1e-3;
/// A gradient below this share of the largest is none: that of a bias before a normalisation, which takes
/// it away again. Ours must be none as well.
const NEGLIGIBLE: f64 = 1e-6;

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
    let examples = network.examples(golden.batch);
    let made = gradients(
        &network.model,
        network.loss,
        &network.parameters,
        &examples,
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
            (product(golden.stream(number), which, gradient) - expected).powi(2)
        });
        let distance = (distance.sum::<f64>() / products.len() as f64).sqrt();
        if norm < NEGLIGIBLE * largest {
            let own_norm = gradient
                .iter()
                .map(|of| f64::from(*of).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                own_norm < NEGLIGIBLE * largest,
                "gradient of {}: {own_norm:.1e} where PyTorch has none",
                own.name
            );
            continue;
        }
        let relative = distance / norm;
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
    let examples = network.examples(golden.batch);
    for (steps, expected) in (1..).zip(&golden.losses) {
        let spec = TrainingSpec {
            local_epochs: steps,
            batch_size: golden.batch as u32,
            ..TrainingSpec::plain(network.loss, golden.learning_rate)
        };
        let mut trainer = LocalTrainer::new(&network.model, &spec).unwrap();
        let trained = trainer
            .run(&network.parameters, &examples, [0; 32])
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
                let network = Network::load(stringify!($name));
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
    let golden = golden();
    let listed: BTreeSet<&str> = golden.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(listed, NETWORKS.iter().copied().collect());
}
