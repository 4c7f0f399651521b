//! The scale of inputs that are tensors, as a graph: the device runs the same nodes over its examples that
//! the exported model begins with.

use std::ops::Range;

use fl_model::{Normalization, TensorElements, TensorInput, TensorScale};

use crate::builder::GraphBuilder;
use crate::error::ModelError;
use crate::features::{ENCODED, OPSET, RAW};
use crate::shape::{Dim, Shape, ValueType};

/// The graph from raw examples `[N, …]` of an input to what the model takes, `(x − mean)·scale`, where NaN
/// becomes the mean; none for an input that is taken as it is. `columns` are its own in the normalisation.
///
/// # Errors
/// The normalisation does not fit.
pub fn scale_graph(
    input: &TensorInput,
    columns: Range<usize>,
    normalization: &Normalization,
) -> Result<Option<Vec<u8>>, ModelError> {
    let mut builder = GraphBuilder::new([RAW.to_owned(), ENCODED.to_owned()]);
    if !write_scaled(&mut builder, RAW, input, columns, normalization, ENCODED)? {
        return Ok(None);
    }
    let own = input.dims().into_iter().map(Dim::Fixed);
    let shape: Shape = std::iter::once(Dim::Batch(1)).chain(own).collect();
    let ends = |name: &str| [(name.to_owned(), ValueType::f32(shape.clone()))];
    Ok(Some(builder.finish(
        "scale",
        OPSET,
        &ends(RAW),
        &ends(ENCODED),
    )))
}

/// Writes raw → scaled, with the given name for the result; or nothing, and false, where the input is taken
/// as it is.
pub(crate) fn write_scaled(
    graph: &mut GraphBuilder,
    raw: &str,
    input: &TensorInput,
    columns: Range<usize>,
    normalization: &Normalization,
    output: &str,
) -> Result<bool, ModelError> {
    let TensorElements::Numbers(scale) = input.elements else {
        return Ok(false);
    };
    let (mean, scale) = match scale {
        TensorScale::Fixed { mean, deviation } => (vec![mean], vec![deviation.recip()]),
        TensorScale::Statistics { .. } => {
            let of = |all: &[f32]| all.get(columns.clone()).map(<[f32]>::to_vec);
            let both = of(&normalization.mean).zip(of(&normalization.scale));
            both.ok_or_else(|| unfit(input, "the normalisation has no columns of its own for it"))?
        }
    };
    if !mean.iter().chain(&scale).all(|number| number.is_finite()) {
        return Err(unfit(input, "its scale has a number that is not finite"));
    }
    let shape = broadcast_shape(input, mean.len());
    let mean = graph.tensor(&shape, &mean);
    let scale = graph.tensor(&shape, &scale);
    let missing = graph.node("IsNaN", &[raw], &[]);
    let filled = graph.node("Where", &[&missing, &mean, raw], &[]);
    let centred = graph.node("Sub", &[&filled, &mean], &[]);
    graph.node_into("Mul", &[&centred, &scale], &[], output.to_owned());
    Ok(true)
}

/// The shape in which so many numbers go along the input's channels.
fn broadcast_shape(input: &TensorInput, count: usize) -> Vec<u64> {
    let axis = input.channels().and_then(|(axis, _)| axis);
    let after = axis.map_or(0, |axis| input.dims().len() - 1 - axis);
    let ones = std::iter::repeat_n(1, after);
    std::iter::once(count as u64).chain(ones).collect()
}

fn unfit(input: &TensorInput, what: &str) -> ModelError {
    ModelError::Features(format!("input `{}`: {what}", input.name))
}
