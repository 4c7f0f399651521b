//! What several test files need.
#![allow(dead_code, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fl_model::{Feature, FeatureSpec, Loss, TrainingSpec};
use onnx_train::{Examples, Matrix, Targets, TrainError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The demo's model.
pub(crate) const AIR_MLP: &[u8] = include_bytes!("../../../../config/models/air-mlp.onnx");

/// Loads the runtime that `cargo xtask test` names.
pub(crate) fn runtime() {
    onnx_train::init_runtime(None)
        .expect("run the tests by `cargo xtask test`, or set ORT_DYLIB_PATH");
}

/// Whether models run on tract: with its feature, and with no library named.
pub(crate) fn on_tract() -> bool {
    onnx_train::runtime_name().unwrap() == "tract"
}

/// The value, or a panic with what the error says.
pub(crate) fn must<T>(result: Result<T, TrainError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Checks every case, so that one run tells of all that fail. On tract it is an error, never a wrong number,
/// what these cases ask for.
pub(crate) fn check_all<C>(
    cases: &[C],
    name: impl Fn(&C) -> String,
    check: impl Fn(&C),
    refused_by_tract: &[&str],
) {
    assert!(!cases.is_empty());
    let mut failed = Vec::new();
    for case in cases {
        let name = name(case);
        println!("{name}");
        let expected = on_tract() && refused_by_tract.contains(&name.as_str());
        let outcome = catch_unwind(AssertUnwindSafe(|| check(case)));
        let refused = outcome.as_ref().err().map(|panic| {
            let text = panic.downcast_ref::<String>();
            text.is_some_and(|text| text.contains("tract cannot run this model"))
        });
        match (expected, refused) {
            (false, None) | (true, Some(true)) => {}
            _ => failed.push(name),
        }
    }
    assert!(failed.is_empty(), "of {} failed: {failed:?}", cases.len());
}

/// Plain stochastic gradient descent.
pub(crate) fn sgd(loss: Loss, learning_rate: f32) -> TrainingSpec {
    TrainingSpec::plain(loss, learning_rate)
}

/// So many numeric columns.
pub(crate) fn numeric(columns: usize) -> FeatureSpec {
    let numeric = |index| Feature::Numeric {
        column: format!("c{index}"),
    };
    FeatureSpec {
        features: (0..columns).map(numeric).collect(),
        clip: 5.0,
    }
}

/// Uniform numbers in ±1.
pub(crate) fn uniform(count: usize, seed: u8) -> Vec<f32> {
    let mut random = ChaCha8Rng::from_seed([seed; 32]);
    (0..count)
        .map(|_| (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Rows of 14 columns, of class 1 where the first exceeds the product of the next two.
pub(crate) fn separable(rows: usize, seed: u8) -> Examples {
    let data = uniform(rows * 14, seed);
    let targets = data
        .chunks_exact(14)
        .map(|row| f32::from(u8::from(row[0] > row[1] * row[2])))
        .collect();
    Examples::new(Matrix::new(14, data).unwrap(), Targets::Values(targets)).unwrap()
}
