//! Resize: a value read at evenly spaced places along some axes, from the nearest element or between two
//! (`linear`). Saves nothing.

use super::resize_axis::{Along, Places};
use super::shared_axes::{self, multiply_axis};
use super::{InputGradients, Operator};
use crate::attributes::{find, int_or, ints, text_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Int, ValueType, show};
use crate::tensor::Tensor;

pub(crate) struct Resize;

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(4)?;
        let mut shape = site.float(0)?.shape().clone();
        Places::new(site)?;
        for along in resized(site)? {
            shape[along.axis] = Dim::Fixed(along.to);
        }
        shared_axes::moved_into(site, shape)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is the product of `dy` with the transposed matrix of the resizing along each axis. Where every
    /// element was repeated a whole number of times it is a sum over windows, which AveragePool does in
    /// three quarters of the time that two products take, and ReduceSum in twice to thrice.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let places = Places::new(site)?;
        let resized = resized(site)?;
        let mut shape = site.output()?.shape().clone();
        if let Some(factors) = windows(&places, &resized, shape.len()) {
            return Ok(vec![Some(sum_windows(upstream, &factors, graph))]);
        }
        let mut gradient = upstream.to_owned();
        for along in resized.iter().rev() {
            let matrix = places.matrix(along).ok_or("it resizes too much at once")?;
            let back = matrix.transposed();
            gradient = multiply_axis(&gradient, &shape, along.axis, &back, graph);
            shape[along.axis] = Dim::Fixed(along.from);
        }
        Ok(vec![Some(gradient)])
    }
}

/// The axes that are not left as they are.
fn resized(site: &Site<'_>) -> Result<Vec<Along>, String> {
    let shape = site.input(0)?.shape();
    let axes: Vec<i64> = match find(site.proto, "axes") {
        // They came with operator set 18.
        Some(axes) if site.opset >= 18 => axes.ints.clone(),
        _ => (0..shape.len() as i64).collect(),
    };
    let axes = shared_axes::distinct_axes(&axes, shape.len())?;
    let sizes = Sizes::new(site, axes.len())?;
    let mut resized = Vec::new();
    for (index, axis) in axes.into_iter().enumerate() {
        if sizes.keeps(index, shape[axis]) {
            continue;
        }
        let from = shared_axes::fixed_size(shape, axis, "resizes")?;
        let (to, scale) = sizes.of(index, from).ok_or_else(|| {
            format!(
                "makes of axis {axis} of {} no size from 1 to {SIZE_MAX}",
                show(shape)
            )
        })?;
        resized.push(Along {
            axis,
            from,
            to,
            scale,
        });
    }
    Ok(resized)
}

/// Largest size of a resized axis, up to which float32 counts exactly.
const SIZE_MAX: u64 = 1 << 24;

/// What the axes are resized by, or to.
enum Sizes {
    By(Vec<f32>),
    To(Vec<Int>),
}

impl Sizes {
    fn new(site: &Site<'_>, axes: usize) -> Result<Self, String> {
        let sizes = site.ints(3)?.filter(|sizes| !sizes.is_empty());
        let (own, count) = match (sizes, site.optional(2)) {
            (Some(sizes), _) => (sizes.len(), Sizes::To(sizes)),
            (None, None) => return Err("has neither scales nor sizes".to_owned()),
            (None, Some(scales)) => match scales.constant.as_ref().and_then(Tensor::floats) {
                Some(known) => (known.len(), Sizes::By(known.to_vec())),
                None => {
                    return Err(format!(
                        "its scales `{}` must be float32 and known when the model is read; \
                         export the model with fixed sizes, all but the batch",
                        scales.name
                    ));
                }
            },
        };
        match own == axes {
            true => Ok(count),
            false => Err(format!("has {own} scales or sizes for {axes} axes")),
        }
    }

    fn keeps(&self, index: usize, dim: Dim) -> bool {
        match self {
            Sizes::By(scales) => scales.get(index) == Some(&1.0),
            Sizes::To(sizes) => sizes.get(index) == Some(&Int::from(dim)),
        }
    }

    /// Size after resizing and scale.
    fn of(&self, index: usize, from: u64) -> Option<(u64, f32)> {
        let (to, scale) = match self {
            Sizes::By(scales) => {
                let scale = *scales.get(index)?;
                let to = (from as f32 * scale).floor();
                (
                    (1.0..=SIZE_MAX as f32).contains(&to).then_some(to as u64)?,
                    scale,
                )
            }
            Sizes::To(sizes) => {
                let to = u64::try_from(sizes.get(index)?.fixed()?).ok()?;
                (to, to as f32 / from as f32)
            }
        };
        (1..=SIZE_MAX).contains(&to).then_some((to, scale))
    }
}

/// How often each element was repeated along the axes behind the first two, if it was a whole number of
/// times and pooling works on these axes.
fn windows(places: &Places, resized: &[Along], rank: usize) -> Option<Vec<i64>> {
    let mut factors = vec![1; rank.checked_sub(2).filter(|axes| (1..=3).contains(axes))?];
    for along in resized {
        let factor = factors.get_mut(along.axis.checked_sub(2)?)?;
        *factor = places.repeats(along)? as i64;
    }
    Some(factors)
}

fn sum_windows(upstream: &str, factors: &[i64], graph: &mut GraphBuilder) -> String {
    if factors.iter().all(|factor| *factor == 1) {
        return upstream.to_owned();
    }
    let attributes = [ints("kernel_shape", factors), ints("strides", factors)];
    let mean = graph.node("AveragePool", &[upstream], &attributes);
    let count = graph.scalar(factors.iter().product::<i64>() as f32);
    graph.node("Mul", &[&mean, &count], &[])
}

/// Refuses what would read other elements.
pub(super) fn check_attributes(site: &Site<'_>) -> Result<(), String> {
    if int_or(site.proto, "antialias", 0) != 0 {
        return Err("resizes with antialias, which is not supported; export without".to_owned());
    }
    match text_or(site.proto, "keep_aspect_ratio_policy", "stretch") {
        "stretch" => Ok(()),
        other => Err(format!(
            "has the keep_aspect_ratio_policy `{other}`; stretch is supported"
        )),
    }
}
