//! What pooling operators do alike.

use super::shared_windows::{Axis, Windows, kernel_shape};
use crate::attributes::{int, text};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Element, Shape, ValueType, as_reshape, show};

/// The windows of a pooling node, and the type of its output.
pub(super) fn pool(site: &Site<'_>) -> Result<(Windows, ValueType), String> {
    site.at_most_inputs(1)?;
    let shape = site.float(0)?.shape();
    let windows = Windows::read(site, shape, kernel_shape(site)?)?;
    // ONNX Runtime has no such windows, which would hold nothing but padding.
    let mut axes = windows.0.iter();
    if axes.any(|axis| axis.begin.max(axis.declared_end) >= axis.kernel) {
        return Err("its pads must be smaller than its kernel".to_owned());
    }
    let mut pooled = shape.get(..2).unwrap_or_default().to_vec();
    pooled.extend(windows.0.iter().map(|axis| Dim::Fixed(axis.outputs as u64)));
    Ok((windows, ValueType::f32(pooled)))
}

/// The sizes of the axes behind the channels, over all of which a global pooling node works.
pub(super) fn whole(site: &Site<'_>) -> Result<Vec<i64>, String> {
    site.at_most_inputs(1)?;
    let shape = site.float(0)?.shape();
    let sizes = shape.get(2..).unwrap_or_default().iter();
    let sizes: Option<Vec<i64>> = sizes.map(|dim| Some(dim.fixed()? as i64)).collect();
    sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(|| {
        format!(
            "pools {}; expected is [N, channels, …] with fixed sizes behind the channels, \
             for pooling over the batch mixes examples",
            show(shape)
        )
    })
}

/// The output of a global pooling node.
pub(super) fn infer_whole(site: &Site<'_>) -> Result<Vec<ValueType>, String> {
    let sizes = whole(site)?;
    let mut shape: Shape = site.input(0)?.shape()[..2].to_vec();
    shape.extend(sizes.iter().map(|_| Dim::Fixed(1)));
    Ok(vec![ValueType::f32(shape)])
}

/// Each window's value at all of its elements, for windows that lie side by side.
pub(super) fn upsample(value: &str, windows: &Windows, graph: &mut GraphBuilder) -> String {
    let mut scales = vec![1.0, 1.0];
    scales.extend(
        windows
            .each(|axis| axis.kernel)
            .into_iter()
            .map(|size| size as f32),
    );
    let scales = graph.tensor(&[scales.len() as u64], &scales);
    graph.node(
        "Resize",
        &[value, "", &scales],
        &[
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ],
    )
}

/// What windows that lie side by side leave over at the end of each axis.
fn left_over(windows: &Windows) -> Vec<i64> {
    let left = windows.each(|axis| axis.input - axis.outputs * axis.kernel);
    [vec![0, 0], left].concat()
}

/// The part of the input that windows lying side by side cover.
pub(super) fn covered(x: &str, windows: &Windows, graph: &mut GraphBuilder) -> String {
    let less: Vec<i64> = left_over(windows).iter().map(|left| -left).collect();
    graph.pad(x, &vec![0; less.len()], &less)
}

/// A gradient of that part with zeros for the rest.
pub(super) fn uncover(gradient: &str, windows: &Windows, graph: &mut GraphBuilder) -> String {
    let left = left_over(windows);
    graph.pad(gradient, &vec![0; left.len()], &left)
}

/// Adds up at each element of the input what the windows over it give it: one transposed convolution for
/// every channel of every example. `shares` are `[·, channels, windows…]`, with a kernel for each channel.
pub(super) fn overlay(
    shares: &str,
    kernels: &str,
    windows: &Windows,
    shape: &Shape,
    graph: &mut GraphBuilder,
) -> String {
    let mut attributes = windows.transposed_attributes();
    attributes.push(int("group", 1));
    let whole = graph.node("ConvTranspose", &[shares, kernels], &attributes);
    graph.reshape(&whole, &as_reshape(shape))
}

/// Sizes of a stack of maps, one for each channel of each example, with so many layers each.
pub(super) fn stack(windows: &Windows, layers: i64, of: impl Fn(&Axis) -> i64) -> Vec<i64> {
    [&[-1, layers], &windows.each(of)[..]].concat()
}

/// 1 where they are equal, else 0.
pub(super) fn equals(left: &str, right: &str, graph: &mut GraphBuilder) -> String {
    let equal = graph.node("Equal", &[left, right], &[]);
    graph.cast(&equal, Element::F32)
}
