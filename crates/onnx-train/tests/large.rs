//! Numbers whose exponential is beyond float32.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use fl_model::Loss;
use onnx_grad::{ForwardModel, Limits};
use onnx_train::{Evaluator, Examples, Input, LocalTrainer, Matrix, Targets, initial_parameters};
use support::{runtime, sgd};

const ROWS: usize = 4;

/// What takes exponentials and logarithms gives finite outputs, and learns from them.
#[test]
fn large_numbers_stay_finite() {
    runtime();
    for name in [
        "dense/log_softmax",
        "dense/log_softmax_inner_axis",
        "dense/loss_softmax_after_log_softmax",
        "elementwise/softplus",
        "reductions/reduce_logsumexp",
        "reductions/reduce_logsumexp_dropped",
        "reductions/reduce_logsumexp_input",
        "reductions/reduce_logsumexp_input_dropped",
    ] {
        println!("{name}");
        let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/vectors");
        let model = std::fs::read(vectors.join(format!("{name}.onnx"))).unwrap();
        let forward = ForwardModel::parse(&model, &Limits::default()).unwrap();
        let columns = forward.inputs()[0].dims.iter().product::<u64>() as usize;
        let numbers = (0..ROWS * columns).map(|at| 300.0 * (at as f32 * 1.7).sin());
        let input = Input::Numbers(Matrix::new(columns, numbers.collect()).unwrap());
        let outputs = forward.output_dims().iter().product::<u64>() as usize;
        let targets = Targets::Values(vec![0.5; ROWS * outputs]);
        let examples = Examples::of_inputs(vec![input], targets).unwrap();

        let parameters = initial_parameters(&model).unwrap();
        let mut evaluator = Evaluator::new(&model, Loss::MeanAbsoluteError).unwrap();
        let evaluation = evaluator.run(&parameters, &examples).unwrap();
        assert!(evaluation.losses.iter().all(|loss| *loss < 1e4), "{name}");
        let spec = sgd(Loss::MeanAbsoluteError, 0.01);
        let mut trainer = LocalTrainer::new(&model, &spec).unwrap();
        trainer.run(&parameters, &examples, [0; 32]).unwrap();
    }
}
