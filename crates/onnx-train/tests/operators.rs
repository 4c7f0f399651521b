//! Every operator and loss: the gradient against another framework's, and against finite differences.
//!
//! The models and what JAX says of them are made by `onnx-grad/vectors/make_vectors.py`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use fl_model::{DataSpec, Feature, FeatureSpec, Label, Loss, Split};
use onnx_train::{
    Evaluator, Examples, LocalTrainer, Matrix, Predictions, Targets, check_model,
    initial_parameters,
};
use serde_json::Value;
use support::{runtime, sgd};

/// Difference quotients are taken over twice this.
const STEP: f32 = 1e-2;

struct Case {
    model: Vec<u8>,
    loss: Loss,
    examples: Examples,
    golden: Value,
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/vectors")
}

fn read_json(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(vectors().join(file)).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn load(name: &str) -> Case {
    let cases = read_json("cases.json");
    let golden = cases
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["name"] == name)
        .unwrap()
        .clone();
    let loss = match golden["loss"].as_str().unwrap() {
        "softmax_cross_entropy" => Loss::SoftmaxCrossEntropy,
        "binary_cross_entropy" => Loss::BinaryCrossEntropy,
        "mean_squared_error" => Loss::MeanSquaredError,
        "mean_absolute_error" => Loss::MeanAbsoluteError,
        "huber" => Loss::Huber { delta: 0.5 },
        other => panic!("unknown loss {other}"),
    };
    let inputs = floats(&golden["inputs"]);
    let rows = golden["rows"].as_u64().unwrap() as usize;
    let targets = match loss {
        Loss::SoftmaxCrossEntropy => Targets::Classes(
            floats(&golden["targets"])
                .iter()
                .map(|class| *class as i64)
                .collect(),
        ),
        _ => Targets::Values(floats(&golden["targets"])),
    };
    Case {
        model: std::fs::read(vectors().join(format!("{name}.onnx"))).unwrap(),
        loss,
        examples: Examples::new(Matrix::new(inputs.len() / rows, inputs).unwrap(), targets)
            .unwrap(),
        golden,
    }
}

fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * (1.0 + expected.abs()),
            "{what}[{index}]: {got} instead of {expected}"
        );
    }
}

/// A step of plain descent at rate 1 moves every parameter by its gradient.
fn gradients(case: &Case, parameters: &[Vec<f32>]) -> (Vec<Vec<f32>>, f64) {
    let mut trainer = LocalTrainer::new(&case.model, &sgd(case.loss, 1.0)).unwrap();
    let trained = trainer.run(parameters, &case.examples, [0; 32]).unwrap();
    assert_eq!(trained.steps, 1);
    let pairs = parameters.iter().zip(&trained.parameters);
    let moved = pairs.map(|(before, after)| before.iter().zip(after).map(|(a, b)| a - b).collect());
    (moved.collect(), trained.loss)
}

fn check(name: &str) {
    runtime();
    let case = load(name);
    let parameters = initial_parameters(&case.model).unwrap();
    let (gradients, loss) = gradients(&case, &parameters);
    let golden = case.golden["gradients"].as_array().unwrap();
    assert_eq!(gradients.len(), golden.len(), "parameters of {name}");
    let expected_loss = case.golden["expected_loss"].as_f64().unwrap();
    assert!(
        (loss - expected_loss).abs() < 1e-5 * (1.0 + expected_loss),
        "loss {loss} instead of {expected_loss}"
    );

    let mut evaluator = Evaluator::new(&case.model, case.loss).unwrap();
    let evaluation = evaluator.run(&parameters, &case.examples).unwrap();
    assert!((evaluation.loss() - loss).abs() < 1e-6 * (1.0 + loss));
    if let Predictions::Values(outputs) = &evaluation.predictions {
        assert_close(outputs, &floats(&case.golden["outputs"]), 1e-5, "outputs");
    }

    for (index, (gradient, golden)) in gradients.iter().zip(golden).enumerate() {
        assert_close(
            gradient,
            &floats(golden),
            2e-5,
            &format!("gradient of parameter {index}"),
        );
        let mut loss_at = |element: usize, by: f32| {
            let mut moved = parameters.clone();
            moved[index][element] += by;
            evaluator.run(&moved, &case.examples).unwrap().loss()
        };
        let differences: Vec<f32> = (0..gradient.len())
            .map(|element| {
                ((loss_at(element, STEP) - loss_at(element, -STEP)) / f64::from(2.0 * STEP)) as f32
            })
            .collect();
        assert_close(
            gradient,
            &differences,
            2e-3,
            &format!("difference quotient of parameter {index}"),
        );
    }
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { check(stringify!($name)); })*
    };
}

cases! {
    gemm,
    gemm_scaled,
    gemm_both_transposed,
    gemm_weight_first,
    matmul,
    matmul_stack,
    matmul_broadcast,
    matmul_weight_first,
    matmul_vector_right,
    matmul_vector_left,
    add_row,
    add_outer,
    add_parameter_first,
    sub_row,
    sub_outer,
    sub_parameter_first,
    mul_row,
    mul_outer,
    mul_parameter_first,
    div_row,
    div_outer,
    div_parameter_first,
    relu,
    leaky_relu,
    leaky_relu_steep,
    sigmoid,
    tanh,
    erf,
    gelu,
    gelu_tanh,
    softmax,
    log_softmax,
    identity,
    softmax_inner_axis,
    log_softmax_inner_axis,
    reshape,
    reshape_into_batch,
    flatten,
    flatten_axis,
    transpose,
    constant,
    cast,
    shared_parameter,
    loss_softmax,
    loss_softmax_after_softmax,
    loss_softmax_after_log_softmax,
    loss_binary,
    loss_binary_after_sigmoid,
    loss_squared,
    loss_absolute,
    loss_huber,
    loss_binary_vector,
}

#[test]
fn every_vector_is_tested_and_every_operator_has_one() {
    let cases = read_json("cases.json");
    let listed: BTreeSet<&str> = cases
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, CASES.iter().copied().collect());
    for operator in onnx_grad::supported_operators() {
        let used = CASES.iter().any(|name| {
            let model = std::fs::read(vectors().join(format!("{name}.onnx"))).unwrap();
            // NodeProto.op_type is field 4, length-delimited.
            let mut field = vec![4 << 3 | 2, operator.len() as u8];
            field.extend(operator.bytes());
            model.windows(field.len()).any(|window| window == field)
        });
        assert!(used, "no vector uses {operator}");
    }
}

#[test]
fn a_model_is_compared_with_the_jobs_label_before_it_trains() {
    let data = |label: Label| DataSpec {
        inputs: FeatureSpec {
            features: ["a", "b", "c"]
                .map(|column| Feature::Numeric {
                    column: column.to_owned(),
                })
                .to_vec(),
            clip: 5.0,
        },
        label,
        time_column: None,
        split: Split::Tail { test_fraction: 0.5 },
    };
    let column = || "quality".to_owned();
    let classes = |count: usize| Label::Class {
        column: column(),
        classes: (0..count).map(|class| class.to_string()).collect(),
    };
    let value = || Label::Value { column: column() };
    let check = |name: &str, label: Label, fault: Option<[&str; 3]>| {
        let case = load(name);
        let checked = check_model(&case.model, &sgd(case.loss, 0.1), &data(label));
        match (checked, fault) {
            (Ok(()), None) => {}
            (Err(error), Some(parts)) => {
                let said = error.to_string();
                assert!(
                    parts.iter().all(|part| said.contains(part)),
                    "{name}: {said}"
                );
            }
            (checked, _) => panic!("{name}: {checked:?}"),
        }
    };
    check("loss_softmax", classes(4), None);
    let too_many = ["\"quality\"", "takes 3", "gives 4"];
    check("loss_softmax", classes(3), Some(too_many));
    let too_few = ["\"quality\"", "takes 5", "gives 4"];
    check("loss_softmax", classes(5), Some(too_few));
    let two = ["\"quality\"", "takes 1", "gives 2"];
    check("loss_squared", value(), Some(two));
    let above = Label::Above {
        column: column(),
        limit: 1.0,
    };
    check("loss_binary", above, None);
}
