//! What several test files need.
#![allow(dead_code, clippy::unwrap_used)]

use fl_model::{Feature, FeatureSpec, Loss, TrainingSpec};
use onnx_train::{Examples, Matrix, Targets};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The demo's model.
pub(crate) const AIR_MLP: &[u8] = include_bytes!("../../../../config/models/air-mlp.onnx");

/// Loads the runtime that `cargo xtask test` names.
pub(crate) fn runtime() {
    onnx_train::init_runtime(None)
        .expect("run the tests by `cargo xtask test`, or set ORT_DYLIB_PATH");
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
