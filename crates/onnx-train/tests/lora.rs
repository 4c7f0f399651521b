//! Low-rank adapters: their gradients against PyTorch's, and what becomes of them in the exported model.
//!
//! The model and what PyTorch says of it are made by `onnx-grad/vectors/make_lora.py`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use fl_model::{LocalOptimizer, Loss, ModelOptions, TrainingSpec};
use onnx_train::testing::Network;
use onnx_train::{
    Evaluator, Examples, Input, LocalTrainer, Lora, Matrix, Model, Predictions, Targets, add_lora,
    export_plain, gradients, initial_parameters, parameter_layout, partition, starting_parameters,
};
use serde::Deserialize;
use support::{AIR_MLP, runtime, separable, sgd};

const MODEL: &[u8] = include_bytes!("../../onnx-grad/vectors/lora/model.onnx");
const LOSS: Loss = Loss::SoftmaxCrossEntropy;

#[derive(Deserialize)]
struct Golden {
    rows: usize,
    rank: u32,
    alpha: f32,
    inputs: Vec<f32>,
    targets: Vec<i64>,
    outputs: Vec<f32>,
    expected_loss: f64,
    adapters: BTreeMap<String, Vec<f32>>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn adapters(rank: u32, weights: &[&str]) -> Lora {
    Lora {
        rank,
        alpha: rank.max(1) as f32,
        seed: 1,
        weights: weights.iter().map(|&own| own.to_owned()).collect(),
    }
}

fn names(model: &[u8]) -> Vec<String> {
    let layout = parameter_layout(model).unwrap();
    layout.into_iter().map(|own| own.name).collect()
}

fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        let error = (got - expected).abs();
        let bound = tolerance * (1.0 + expected.abs());
        assert!(error <= bound, "{what}: {got} instead of {expected}");
    }
}

#[test]
fn gradients_of_adapters_are_pytorchs_and_the_exported_weights_hold_them() {
    runtime();
    let json = include_bytes!("../../onnx-grad/vectors/lora/golden.json");
    let golden: Golden = serde_json::from_slice(json).unwrap();
    let lora = Lora {
        alpha: golden.alpha,
        ..adapters(golden.rank, &["w*"])
    };
    let model = add_lora(MODEL, &lora).unwrap();
    let names = names(&model);
    let expected: Vec<&String> = golden.adapters.keys().collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    let parameters: Vec<Vec<f32>> = golden.adapters.values().cloned().collect();
    let columns = golden.inputs.len() / golden.rows;
    let input = Input::Numbers(Matrix::new(columns, golden.inputs.clone()).unwrap());
    let targets = Targets::Classes(golden.targets.clone());
    let examples = Examples::of_inputs(vec![input], targets).unwrap();
    let made = gradients(&model, LOSS, &parameters, &examples, [0; 32]).unwrap();
    assert!((made.loss - golden.expected_loss).abs() < 1e-5);
    for (name, gradient) in names.iter().zip(&made.by_parameter) {
        assert_close(gradient, &golden.gradients[name], 2e-5, name);
    }
    // The exported model has no adapters, and answers as the adapted one does.
    let exported = export_plain(&model, &parameters).unwrap();
    let of_file: Vec<String> = self::names(MODEL);
    assert_eq!(self::names(&exported), of_file);
    let merged = initial_parameters(&exported).unwrap();
    let evaluation = Evaluator::new(&exported, Loss::SoftmaxCrossEntropy).unwrap();
    let evaluation = { evaluation }.run(&merged, &examples).unwrap();
    assert!((evaluation.loss() - golden.expected_loss).abs() < 1e-5);
    let squared = Examples::of_inputs(
        examples.inputs().to_vec(),
        Targets::Values(golden.outputs.clone()),
    );
    let outputs = Evaluator::new(&exported, Loss::MeanSquaredError).unwrap();
    let outputs = { outputs }.run(&merged, &squared.unwrap()).unwrap();
    let Predictions::Values(outputs) = outputs.predictions else {
        unreachable!()
    };
    assert_close(&outputs, &golden.outputs, 1e-5, "outputs");
}

#[test]
fn a_transformer_begins_unchanged_learns_and_is_exported_as_it_was_learnt() {
    runtime();
    let network = Network::load("transformer");
    // With the weights that the network's tests draw.
    let base = export_plain(&network.model, &network.parameters).unwrap();
    let model = add_lora(&base, &adapters(2, &[])).unwrap();
    let layout = names(&model);
    assert!(!layout.is_empty());
    assert!(layout.iter().all(|name| name.contains(".lora_")));
    let parts = partition(&model).unwrap();
    assert!(parts.shared * 3 < parts.frozen, "{parts}");

    let examples = network.examples(16);
    let start = initial_parameters(&model).unwrap();
    let whole = initial_parameters(&base).unwrap();
    let mut evaluator = Evaluator::new(&model, network.loss).unwrap();
    let mut before = Evaluator::new(&base, network.loss).unwrap();
    let unchanged = before.run(&whole, &examples).unwrap();
    let begins = evaluator.run(&start, &examples).unwrap();
    assert_close(&begins.losses, &unchanged.losses, 1e-6, "losses");

    let spec = TrainingSpec {
        optimizer: LocalOptimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decoupled: false,
        },
        local_epochs: 30,
        ..sgd(network.loss, 0.02)
    };
    let mut trainer = LocalTrainer::new(&model, &spec).unwrap();
    let trained = trainer.run(&start, &examples, [1; 32]).unwrap();
    let after = evaluator.run(&trained.parameters, &examples).unwrap();
    assert!(
        after.loss() < 0.7 * begins.loss(),
        "{} of {}",
        after.loss(),
        begins.loss()
    );

    let exported = export_plain(&model, &trained.parameters).unwrap();
    assert_eq!(names(&exported), names(&base));
    let merged = initial_parameters(&exported).unwrap();
    let merged = before.run(&merged, &examples).unwrap();
    assert_close(&merged.losses, &after.losses, 1e-4, "losses");
}

#[test]
fn adapters_can_stay_on_the_device_in_part() {
    let model = add_lora(AIR_MLP, &adapters(1, &["fc1.weight"])).unwrap();
    assert_eq!(names(&model), ["fc1.weight.lora_A", "fc1.weight.lora_B"]);
    let options = ModelOptions {
        local: vec!["*.lora_B".to_owned()],
        ..ModelOptions::PLAIN
    };
    let parts = partition(Model::new(&model, &options)).unwrap();
    assert_eq!([parts.shared, parts.local, parts.frozen], [14, 16, 257]);
    // Two devices with the same shared half are exported without the other.
    let start = initial_parameters(Model::new(&model, &options)).unwrap();
    let exported = export_plain(Model::new(&model, &options), &start[..1]).unwrap();
    let expected = initial_parameters(AIR_MLP).unwrap();
    assert_eq!(initial_parameters(&exported).unwrap(), expected);
    let again = add_lora(AIR_MLP, &adapters(1, &["fc1.weight"])).unwrap();
    assert_eq!(
        initial_parameters(&again).unwrap(),
        initial_parameters(&model).unwrap()
    );
}

#[test]
fn adapters_of_the_demos_model_learn() {
    runtime();
    let model = add_lora(AIR_MLP, &adapters(4, &["fc1.*"])).unwrap();
    let spec = TrainingSpec {
        local_epochs: 20,
        ..sgd(Loss::BinaryCrossEntropy, 0.1)
    };
    let start = starting_parameters(&model, None).unwrap();
    let examples = separable(500, 1);
    let mut evaluator = Evaluator::new(&model, Loss::BinaryCrossEntropy).unwrap();
    let before = evaluator.run(&start, &examples).unwrap().loss();
    let mut trainer = LocalTrainer::new(&model, &spec).unwrap();
    let trained = trainer.run(&start, &examples, [1; 32]).unwrap();
    let after = evaluator
        .run(&trained.parameters, &examples)
        .unwrap()
        .loss();
    assert!(after < before * 0.9, "{before} -> {after}");
}

#[test]
fn what_cannot_be_adapted_is_refused_and_named() {
    let check = |model: &[u8], lora: Lora, expected: &str| {
        let message = add_lora(model, &lora).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(AIR_MLP, adapters(0, &[]), "the rank is 0");
    check(AIR_MLP, adapters(15, &[]), "can be at most 14");
    check(
        AIR_MLP,
        adapters(8, &[]),
        "unless weights are named at most 7",
    );
    check(AIR_MLP, adapters(2, &["fc2.weight"]), "from 1 to 1");
    check(AIR_MLP, adapters(1, &["fc3.*"]), "lora-weights has `fc3.*`");
    check(
        AIR_MLP,
        adapters(1, &["fc1.bias"]),
        "nearest are `fc1.weight`",
    );
    let flat = Lora {
        alpha: 0.0,
        ..adapters(1, &[])
    };
    check(AIR_MLP, flat, "alpha is 0");
    let model = add_lora(AIR_MLP, &adapters(1, &[])).unwrap();
    check(&model, adapters(1, &[]), "has adapters already");
    check(b"no model", adapters(1, &[]), "not an ONNX model");
    let drawn = starting_parameters(&model, Some(1))
        .unwrap_err()
        .to_string();
    assert!(drawn.contains("leave randomize away"), "{drawn}");
}
