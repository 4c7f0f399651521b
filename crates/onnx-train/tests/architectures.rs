//! Whole networks: gradients and a training curve against PyTorch's, and the exported model against ours.
//!
//! The networks and what PyTorch says of them, in float64, are made by
//! `onnx-grad/architectures/make_architectures.py`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use fl_model::TrainingSpec;
use onnx_grad::{Parameter, Role};
use onnx_train::testing::{Network, bits, golden};
use onnx_train::{Evaluator, ExportedModel, LocalTrainer, Targets, export_plain, gradients};
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

/// The loss of every step of plain descent on one batch is PyTorch's. Returns the parameters after the last.
fn check_curve(network: &Network) -> Vec<Vec<f32>> {
    let golden = &network.golden;
    let examples = network.examples(golden.batch);
    let spec = TrainingSpec {
        batch_size: golden.batch as u32,
        ..TrainingSpec::plain(network.loss, golden.learning_rate)
    };
    let mut trainer = LocalTrainer::new(&network.model, &spec).unwrap();
    let mut parameters = network.parameters.clone();
    for (step, expected) in golden.losses.iter().enumerate() {
        let trained = trainer.run(&parameters, &examples, [0; 32]).unwrap();
        let error = (trained.loss - expected).abs() / expected;
        assert!(
            error <= LOSS_TOLERANCE,
            "step {step}: loss {} instead of {expected}",
            trained.loss
        );
        parameters = trained.parameters;
    }
    parameters
}

/// Steps within a run are those of several runs: nothing of a step is left over for the next.
fn check_steps(network: &Network) {
    let golden = &network.golden;
    let examples = network.examples(golden.batch);
    let spec = |local_epochs| TrainingSpec {
        local_epochs,
        batch_size: golden.batch as u32,
        ..TrainingSpec::plain(network.loss, golden.learning_rate)
    };
    let steps = golden.losses.len() as u32;
    let mut trainer = LocalTrainer::new(&network.model, &spec(steps)).unwrap();
    let trained = trainer.run(&network.parameters, &examples, [0; 32]);
    let (loss, expected) = (
        trained.unwrap().loss,
        golden.losses[golden.losses.len() - 1],
    );
    let error = (loss - expected).abs() / expected;
    assert!(
        error <= LOSS_TOLERANCE,
        "after {steps} steps in one run: loss {loss} instead of {expected}"
    );
}

/// The user's own model with the trained parameters gives what our evaluation says.
fn check_export(network: &Network, parameters: &[Vec<f32>]) {
    let rows = network.golden.batch;
    let examples = network.examples(rows);
    let mut evaluator = Evaluator::new(&network.model, network.loss).unwrap();
    let evaluation = evaluator.run(parameters, &examples).unwrap();
    let exported = export_plain(&network.model, parameters).unwrap();
    let mut exported = ExportedModel::new(&exported).unwrap();
    let outputs = exported.predict(examples.inputs()).unwrap();
    let losses: Vec<f64> = match examples.targets() {
        Targets::Classes(classes) => {
            let each = outputs.chunks_exact(network.golden.classes).zip(classes);
            each.map(|(row, &class)| cross_entropy(row, class as usize))
                .collect()
        }
        Targets::Values(values) => {
            let width = values.len() / rows;
            let each = outputs.chunks_exact(width).zip(values.chunks_exact(width));
            each.map(|(row, wanted)| squared_error(row, wanted))
                .collect()
        }
    };
    for (own, expected) in losses.iter().zip(&evaluation.losses) {
        let expected = f64::from(*expected);
        assert!(
            (own - expected).abs() < 1e-5 * (1.0 + expected),
            "{own} instead of {expected}"
        );
    }
}

fn cross_entropy(logits: &[f32], class: usize) -> f64 {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    sum.ln() - f64::from(logits[class])
}

fn squared_error(outputs: &[f32], wanted: &[f32]) -> f64 {
    let distances = outputs
        .iter()
        .zip(wanted)
        .map(|(a, b)| f64::from(a - b).powi(2));
    distances.sum::<f64>() / outputs.len() as f64
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
                let trained = check_curve(&network);
                check_steps(&network);
                check_export(&network, &trained);
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
