//! Raw columns into what a model takes, by the graph that the exported model begins with.

use fl_model::{FeatureSpec, Normalization};
use onnx_grad::features::{ENCODED, RAW, encode_graph, prepare_graph};
use ort::value::TensorRef;

use crate::error::TrainError;
use crate::examples::Matrix;
use crate::runtime::session;

/// Rows that go through the graph at once.
const ROWS_MAX: usize = 4096;

/// Raw columns `[n, c]`, row-major, to encoded columns: sines and cosines, one column a category.
/// Missing values (NaN) stay NaN, except that a missing category is all zeros.
///
/// # Errors
/// The features cannot be encoded, or the numbers do not fill whole rows.
pub fn encode(features: &FeatureSpec, raw: &[f32]) -> Result<Matrix, TrainError> {
    run(&encode_graph(features)?, features, raw)
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
    run(&prepare_graph(features, normalization)?, features, raw)
}

fn run(graph: &[u8], features: &FeatureSpec, raw: &[f32]) -> Result<Matrix, TrainError> {
    let columns = features.features.len();
    if !raw.len().is_multiple_of(columns) {
        return Err(TrainError::Examples(format!(
            "{} numbers do not fill rows of {columns} columns",
            raw.len()
        )));
    }
    let mut session = session(graph)?;
    let mut encoded = Vec::with_capacity(raw.len() / columns * features.encoded_width());
    for chunk in raw.chunks(ROWS_MAX * columns) {
        let input = TensorRef::from_array_view(([chunk.len() / columns, columns], chunk))?;
        let outputs = session.run(ort::inputs![RAW => input])?;
        encoded.extend_from_slice(outputs[ENCODED].try_extract_tensor::<f32>()?.1);
    }
    Matrix::new(features.encoded_width(), encoded)
}
