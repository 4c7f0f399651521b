//! Raw columns and tensors into what a model takes, by the graph that the exported model begins with.

use std::ops::Range;

use fl_model::{FeatureSpec, Normalization, TensorInput};
use onnx_grad::features::{ENCODED, RAW, encode_graph, prepare_graph};
use onnx_grad::tensors::scale_graph;

use crate::engine::{View, load};
use crate::error::TrainError;
use crate::examples::Matrix;

/// Rows that go through the graph at once.
const ROWS_MAX: usize = 4096;

/// Elements of tensors that go through the graph at once, at most; a single large example still goes.
const ELEMENTS_MAX: usize = 1 << 20;

/// Raw columns `[n, c]`, row-major, to encoded columns: sines and cosines, one column a category.
/// Missing values (NaN) stay NaN, except that a missing category is all zeros.
///
/// # Errors
/// The features cannot be encoded, or the numbers do not fill whole rows.
pub fn encode(features: &FeatureSpec, raw: &[f32]) -> Result<Matrix, TrainError> {
    run_rows(&encode_graph(features)?, features, raw)
}

/// Raw columns `[n, c]`, row-major, to the model's input: encoded, imputed, scaled and clipped.
///
/// # Errors
/// As for [`encode`], or the normalisation does not fit the features.
pub fn prepare(
    features: &FeatureSpec,
    normalization: &Normalization,
    raw: &[f32],
) -> Result<Matrix, TrainError> {
    run_rows(&prepare_graph(features, normalization)?, features, raw)
}

/// Raw examples of a float32 input, row-major, to what the model takes: NaN replaced by the mean, and
/// scaled. `columns` are the input's own in the normalisation.
///
/// # Errors
/// The normalisation does not fit, or the numbers do not fill whole examples.
pub fn scale(
    input: &TensorInput,
    columns: Range<usize>,
    normalization: &Normalization,
    raw: &[f32],
) -> Result<Matrix, TrainError> {
    let dims: Vec<usize> = input.dims().iter().map(|size| *size as usize).collect();
    let each = dims.iter().product::<usize>().max(1);
    if !raw.len().is_multiple_of(each) {
        let given = raw.len();
        let what = format!("{given} numbers do not fill examples of {dims:?}");
        return Err(TrainError::Examples(what));
    }
    let at_once = (ELEMENTS_MAX / each).max(1);
    let scaled = match scale_graph(input, columns, normalization)? {
        Some(graph) => run(&graph, raw, &dims, at_once)?,
        None => raw.to_vec(),
    };
    Matrix::new(each, scaled)
}

fn run_rows(graph: &[u8], features: &FeatureSpec, raw: &[f32]) -> Result<Matrix, TrainError> {
    let columns = features.features.len();
    if !raw.len().is_multiple_of(columns) {
        return Err(TrainError::Examples(format!(
            "{} numbers do not fill rows of {columns} columns",
            raw.len()
        )));
    }
    let encoded = run(graph, raw, &[columns], ROWS_MAX)?;
    Matrix::new(features.encoded_width(), encoded)
}

/// Runs a graph over examples of these dimensions, so many at once.
fn run(graph: &[u8], raw: &[f32], dims: &[usize], at_once: usize) -> Result<Vec<f32>, TrainError> {
    let each: usize = dims.iter().product();
    let mut session = load(graph)?;
    let mut made = Vec::with_capacity(raw.len());
    for chunk in raw.chunks(at_once * each) {
        let shape = std::iter::once(chunk.len() / each).chain(dims.iter().copied());
        let input = View::Numbers(shape.collect(), chunk);
        let outputs = session.run(&[(RAW, input)], &[ENCODED])?;
        made.extend(outputs.into_iter().flatten());
    }
    Ok(made)
}
