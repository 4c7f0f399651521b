//! MaxPool: the largest element of each window. Equal largest elements share the gradient evenly, as in
//! PyTorch's `amax`. Saves `x` and `y`: the forward pass asks for no indices, for with them ONNX Runtime
//! leaves its fast kernel.

use super::shared_pooling::{covered, equals, overlay, pool, stack, uncover, upsample};
use super::shared_windows::{Windows, taps};
use super::{InputGradients, Operator};
use crate::attributes::ints;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Element, ValueType};

/// Most elements of a window that may overlap others: the gradient has nodes for each.
const TAPS_MAX: i64 = 256;

pub(crate) struct MaxPool;

impl Operator for MaxPool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let (windows, pooled) = pool(site)?;
        if !windows.is_tiled() && windows.taps() > TAPS_MAX {
            return Err(format!(
                "its windows of {} elements overlap or are padded; at most {TAPS_MAX} elements are supported",
                windows.taps()
            ));
        }
        let indices = ValueType {
            element: Element::I64,
            shape: pooled.shape.clone(),
        };
        Ok(vec![pooled, indices])
    }

    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (windows, _) = pool(site)?;
        let gradient = match windows.is_tiled() {
            true => tiled(site, &windows, upstream, graph)?,
            false => overlapping(site, &windows, upstream, graph)?,
        };
        Ok(vec![Some(gradient)])
    }
}

/// `dx = e·up(dy/Σe)`, where `e` is 1 at the elements that equal their window's largest.
fn tiled(
    site: &Site<'_>,
    windows: &Windows,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<String, String> {
    let x = covered(&site.input(0)?.name, windows, graph);
    let largest = upsample(&site.output()?.name, windows, graph);
    let equal = equals(&x, &largest, graph);
    let kernel = windows.each(|axis| axis.kernel);
    let mean = graph.node(
        "AveragePool",
        &[&equal],
        &[ints("kernel_shape", &kernel), ints("strides", &kernel)],
    );
    let taps = graph.scalar(windows.taps() as f32);
    let count = graph.node("Mul", &[&mean, &taps], &[]);
    let share = graph.node("Div", &[upstream, &count], &[]);
    let shares = upsample(&share, windows, graph);
    let gradient = graph.node("Mul", &[&equal, &shares], &[]);
    Ok(uncover(&gradient, windows, graph))
}

/// The same for windows that overlap: the elements of a window are as many layers, and what they get is
/// laid over each other.
fn overlapping(
    site: &Site<'_>,
    windows: &Windows,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<String, String> {
    let (x, y) = (site.input(0)?, &site.output()?.name);
    let lowest = graph.scalar(f32::NEG_INFINITY);
    let (begins, ends) = (
        windows.each(|axis| axis.begin),
        windows.each(|axis| axis.end),
    );
    let pads = graph.integers(&[&[0, 0], &begins[..], &[0, 0], &ends[..]].concat());
    let padded = graph.node("Pad", &[&x.name, &pads, &lowest], &[]);
    let kernel = windows.each(|axis| axis.kernel);
    let axes: Vec<usize> = (0..windows.rank()).collect();
    let layer = stack(windows, 1, |axis| axis.outputs);
    let layers: Vec<String> = taps(&kernel)
        .iter()
        .map(|tap| {
            let read = windows.cut(&padded, &axes, 2, tap, graph);
            let equal = equals(&read, y, graph);
            graph.reshape(&equal, &layer)
        })
        .collect();
    let equal = graph.concat(&layers, 1);
    let count = graph.reduce_sum(&equal, &[1], true);
    let upstream = graph.reshape(upstream, &layer);
    let share = graph.node("Div", &[&upstream, &count], &[]);
    let shares = graph.node("Mul", &[&equal, &share], &[]);
    // The kernel of each layer is 1 at that layer's element of the window.
    let count = layers.len();
    let places: Vec<f32> = (0..count * count)
        .map(|at| f32::from(at % (count + 1) == 0))
        .collect();
    let dims: Vec<u64> = [&[count as i64, 1], &kernel[..]]
        .concat()
        .iter()
        .map(|size| *size as u64)
        .collect();
    let kernels = graph.tensor(&dims, &places);
    Ok(overlay(&shares, &kernels, windows, x.shape(), graph))
}
