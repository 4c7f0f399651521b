//! Learning rates that are far from 1.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::Loss;
use onnx_train::{Examples, LocalTrainer, Matrix, Targets, initial_parameters};
use support::{runtime, sgd, uniform};

/// Computes in float16 on the way; see `rates/make_model.py`.
const FLOAT16: &[u8] = include_bytes!("rates/float16.onnx");

/// How far a step, divided by its rate, may be from that at rate 1, as a share of the largest number.
const TOLERANCE: f32 = 2e-3;

/// It would be lost if it went in before float16, of which the smallest number is 6e-8.
#[test]
fn a_small_rate_is_not_lost_in_float16() {
    runtime();
    let inputs = Matrix::new(4, uniform(32 * 4, 1)).unwrap();
    let targets = Targets::Values(uniform(32 * 3, 2));
    let examples = Examples::new(inputs, targets).unwrap();
    let start = initial_parameters(FLOAT16).unwrap().concat();
    let slope = |rate: f32| -> Vec<f32> {
        let mut trainer = LocalTrainer::new(FLOAT16, &sgd(Loss::MeanSquaredError, rate)).unwrap();
        let trained = trainer
            .run(std::slice::from_ref(&start), &examples, [1; 32])
            .unwrap();
        assert_eq!(trained.steps, 1);
        let pairs = start.iter().zip(trained.parameters.concat());
        pairs
            .map(|(before, after)| (before - after) / rate)
            .collect()
    };
    let expected = slope(1.0);
    let largest = expected.iter().fold(0.0f32, |most, of| most.max(of.abs()));
    assert!(largest > 1e-3);
    for (got, expected) in slope(1e-5).iter().zip(&expected) {
        let error = (got - expected).abs();
        assert!(error <= TOLERANCE * largest, "{got} instead of {expected}");
    }
}
