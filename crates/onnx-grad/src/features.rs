//! Preprocessing as a graph: raw columns → encoded → normalised.
//!
//! The device runs the same nodes over its rows that the exported model begins with, so that what
//! is trained, evaluated and exported is the same arithmetic.

use std::f32::consts::TAU;

use fl_model::{Feature, FeatureSpec, Normalization};

use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::error::ModelError;
use crate::shape::{Dim, Element, ValueType};

/// Operator set of graphs that hold nothing but preprocessing.
pub(crate) const OPSET: i64 = 17;
/// Graph input of raw columns.
pub const RAW: &str = "raw";
/// Graph output of encoded columns.
pub const ENCODED: &str = "encoded";

/// The graph from raw columns `[N, C]` to encoded columns `[N, F]`, float32; a missing value (NaN)
/// stays NaN, except that a missing category is all zeros.
///
/// # Errors
/// There are no features, or one cannot be encoded.
pub fn encode_graph(features: &FeatureSpec) -> Result<Vec<u8>, ModelError> {
    let mut builder = GraphBuilder::new([RAW.to_owned(), ENCODED.to_owned()]);
    write_encoded(&mut builder, RAW, features, ENCODED)?;
    Ok(finish(builder, features))
}

/// The graph from raw columns `[N, C]` to the model's input `[N, F]`: encoded, NaN replaced by the
/// mean, `(x − mean)·scale`, cut to ±clip.
///
/// # Errors
/// As for [`encode_graph`], or the normalisation does not fit the features.
pub fn prepare_graph(
    features: &FeatureSpec,
    normalization: &Normalization,
) -> Result<Vec<u8>, ModelError> {
    let mut builder = GraphBuilder::new([RAW.to_owned(), ENCODED.to_owned()]);
    write_prepared(&mut builder, RAW, features, normalization, ENCODED)?;
    Ok(finish(builder, features))
}

fn finish(builder: GraphBuilder, features: &FeatureSpec) -> Vec<u8> {
    let columns = |count: usize| ValueType::f32(vec![Dim::Batch(1), Dim::Fixed(count as u64)]);
    builder.finish(
        "features",
        OPSET,
        &[(RAW.to_owned(), columns(features.features.len()))],
        &[(ENCODED.to_owned(), columns(features.encoded_width()))],
    )
}

/// Writes raw → normalised, with the given name for the result.
pub(crate) fn write_prepared(
    graph: &mut GraphBuilder,
    raw: &str,
    features: &FeatureSpec,
    normalization: &Normalization,
    output: &str,
) -> Result<(), ModelError> {
    let width = features.encoded_width();
    if normalization.mean.len() != width || normalization.scale.len() != width {
        return Err(ModelError::Features(format!(
            "they encode to {width} columns, but the normalisation has {} means and {} scales",
            normalization.mean.len(),
            normalization.scale.len()
        )));
    }
    if !normalization
        .mean
        .iter()
        .chain(&normalization.scale)
        .all(|number| number.is_finite())
    {
        return Err(ModelError::Features(
            "the normalisation has a number that is not finite".to_owned(),
        ));
    }
    if !(features.clip.is_finite() && features.clip > 0.0) {
        return Err(ModelError::Features(format!(
            "clip is {}; it must be positive",
            features.clip
        )));
    }
    let encoded = graph.fresh("fl.encoded");
    write_encoded(graph, raw, features, &encoded)?;
    let mean = graph.tensor(&[width as u64], &normalization.mean);
    let scale = graph.tensor(&[width as u64], &normalization.scale);
    let missing = graph.node("IsNaN", &[&encoded], &[]);
    let filled = graph.node("Where", &[&missing, &mean, &encoded], &[]);
    let centred = graph.node("Sub", &[&filled, &mean], &[]);
    let scaled = graph.node("Mul", &[&centred, &scale], &[]);
    let (low, high) = (graph.scalar(-features.clip), graph.scalar(features.clip));
    graph.node_into("Clip", &[&scaled, &low, &high], &[], output.to_owned());
    Ok(())
}

/// Writes raw → encoded, with the given name for the result.
fn write_encoded(
    graph: &mut GraphBuilder,
    raw: &str,
    features: &FeatureSpec,
    output: &str,
) -> Result<(), ModelError> {
    if features.features.is_empty() {
        return Err(ModelError::Features(
            "there are none; name at least one column".to_owned(),
        ));
    }
    let mut blocks = Vec::new();
    let mut column = 0;
    for run in features
        .features
        .chunk_by(|a, b| is_numeric(a) && is_numeric(b))
    {
        let raw_block = columns(graph, raw, column, column + run.len());
        column += run.len();
        // A run is longer than one only when all of it is numeric.
        match &run[0] {
            Feature::Numeric { .. } => blocks.push(raw_block),
            Feature::Cyclic { source, period } => {
                if !(period.is_finite() && *period > 0.0) {
                    return Err(ModelError::Features(format!(
                        "the period of `{source}` is {period}; it must be positive"
                    )));
                }
                let factor = graph.scalar(TAU / period);
                let angle = graph.node("Mul", &[&raw_block, &factor], &[]);
                blocks.push(graph.node("Sin", &[&angle], &[]));
                blocks.push(graph.node("Cos", &[&angle], &[]));
            }
            Feature::Categorical { column, categories } => {
                if categories.is_empty() {
                    return Err(ModelError::Features(format!(
                        "`{column}` has no categories; list its values"
                    )));
                }
                blocks.push(one_hot(graph, &raw_block, categories.len()));
            }
        }
    }
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    graph.node_into("Concat", &blocks, &[int("axis", 1)], output.to_owned());
    Ok(())
}

fn is_numeric(feature: &Feature) -> bool {
    matches!(feature, Feature::Numeric { .. })
}

/// Columns from one to below another.
fn columns(graph: &mut GraphBuilder, raw: &str, from: usize, until: usize) -> String {
    let starts = graph.integers(&[from as i64]);
    let ends = graph.integers(&[until as i64]);
    let axes = graph.integers(&[1]);
    graph.node("Slice", &[raw, &starts, &ends, &axes], &[])
}

fn one_hot(graph: &mut GraphBuilder, raw: &str, count: usize) -> String {
    let indices: Vec<f32> = (0..count).map(|index| index as f32).collect();
    let indices = graph.tensor(&[1, count as u64], &indices);
    let equal = graph.node("Equal", &[raw, &indices], &[]);
    let float = i64::from(Element::F32.to_proto());
    graph.node("Cast", &[&equal], &[int("to", float)])
}
