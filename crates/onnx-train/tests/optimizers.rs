//! Optimisers with their penalties: some full-batch steps against Optax.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{LocalOptimizer, Loss, TrainingSpec};
use onnx_train::{Examples, LocalTrainer, Matrix, Targets, initial_parameters};
use serde_json::Value;
use support::{runtime, sgd};

fn read(file: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../onnx-grad/vectors");
    std::fs::read(format!("{folder}/{file}")).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn spec(run: &Value) -> TrainingSpec {
    let number = |name: &str| run[name].as_f64().unwrap() as f32;
    let flag = |name: &str| run[name].as_bool().unwrap();
    TrainingSpec {
        optimizer: match run["optimizer"].as_str().unwrap() {
            "sgd" => LocalOptimizer::Sgd {
                momentum: number("momentum"),
                nesterov: flag("nesterov"),
            },
            _ => LocalOptimizer::Adam {
                beta1: 0.8,
                beta2: 0.99,
                epsilon: 1e-6,
                decoupled: flag("decoupled"),
            },
        },
        gradient_norm_max: number("gradient_norm_max"),
        weight_decay: number("weight_decay"),
        proximal: number("proximal"),
        local_epochs: run["steps"].as_u64().unwrap() as u32,
        ..sgd(Loss::SoftmaxCrossEntropy, number("learning_rate"))
    }
}

#[test]
fn optimizers_step_as_optax_does() {
    runtime();
    let file: Value = serde_json::from_slice(&read("optimizers.json")).unwrap();
    let name = file["case"].as_str().unwrap();
    let model = read(&format!("dense/{name}.onnx"));
    let cases: Value = serde_json::from_slice(&read("dense/cases.json")).unwrap();
    let case = cases
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["name"] == name)
        .unwrap();
    let inputs = floats(&case["inputs"][0]);
    let columns = inputs.len() / case["rows"].as_u64().unwrap() as usize;
    let targets = floats(&case["targets"])
        .iter()
        .map(|class| *class as i64)
        .collect();
    let examples = Examples::new(
        Matrix::new(columns, inputs).unwrap(),
        Targets::Classes(targets),
    )
    .unwrap();
    let start = initial_parameters(&model).unwrap();

    let runs = file["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for run in runs {
        let trained = LocalTrainer::new(&model, &spec(run))
            .unwrap()
            .run(&start, &examples, [0; 32])
            .unwrap();
        for (got, expected) in trained
            .parameters
            .iter()
            .zip(run["parameters"].as_array().unwrap())
        {
            for (got, expected) in got.iter().zip(floats(expected)) {
                assert!(
                    (got - expected).abs() < 1e-5,
                    "{got} instead of {expected} with {run}"
                );
            }
        }
    }
}
