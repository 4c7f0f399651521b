//! AveragePool: the mean of each window, over its padding too where the node says so. Saves nothing.

use super::shared_pooling::{overlay, pool, stack, uncover, upsample};
use super::shared_windows::{Axis, Windows};
use super::{InputGradients, Operator};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct AveragePool;

impl Operator for AveragePool {
    fn name(&self) -> &'static str {
        "AveragePool"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        Ok(vec![pool(site)?.1])
    }

    /// Every element of a window gets `dy/count`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (windows, _) = pool(site)?;
        let share = share(site, &windows, upstream, graph);
        if windows.is_tiled() {
            let shares = upsample(&share, &windows, graph);
            return Ok(vec![Some(uncover(&shares, &windows, graph))]);
        }
        let layers = graph.reshape(&share, &stack(&windows, 1, |axis| axis.outputs));
        let kernel = windows.each(|axis| axis.kernel);
        let ones = ones(&kernel, graph);
        let shape = site.input(0)?.shape();
        Ok(vec![Some(overlay(&layers, &ones, &windows, shape, graph))])
    }
}

/// `dy/count`, where windows at the border may count fewer elements.
fn share(site: &Site<'_>, windows: &Windows, upstream: &str, graph: &mut GraphBuilder) -> String {
    let padding = int_or(site.proto, "count_include_pad", 0) != 0;
    let counts: Vec<Vec<i64>> = windows.0.iter().map(|axis| counts(axis, padding)).collect();
    let full = windows
        .0
        .iter()
        .zip(&counts)
        .all(|(axis, counts)| counts.iter().all(|count| *count == axis.kernel));
    if full {
        let part = graph.scalar((windows.taps() as f32).recip());
        return graph.node("Mul", &[upstream, &part], &[]);
    }
    let products = counts.iter().fold(vec![1], |products: Vec<i64>, counts| {
        let with = |product: i64| counts.iter().map(move |count| product * count);
        products.into_iter().flat_map(with).collect()
    });
    let parts: Vec<f32> = products
        .iter()
        .map(|count| (*count as f32).recip())
        .collect();
    let dims: Vec<u64> = windows.0.iter().map(|axis| axis.outputs as u64).collect();
    let parts = graph.tensor(&dims, &parts);
    graph.node("Mul", &[upstream, &parts], &[])
}

/// Elements that each window along an axis counts: those inside the input, or inside the declared padding.
fn counts(axis: &Axis, padding: bool) -> Vec<i64> {
    let (first, last) = match padding {
        true => (-axis.begin, axis.input + axis.declared_end),
        false => (0, axis.input),
    };
    // How many of a window's elements lie before this place.
    let before = |start: i64, place: i64| {
        let elements = (place - start + axis.dilation - 1).div_euclid(axis.dilation);
        elements.clamp(0, axis.kernel)
    };
    let starts = (0..axis.outputs).map(|at| at * axis.stride - axis.begin);
    starts
        .map(|start| before(start, last) - before(start, first))
        .collect()
}

/// A kernel of ones for one channel.
fn ones(kernel: &[i64], graph: &mut GraphBuilder) -> String {
    let one = graph.scalar(1.0);
    let shape = graph.integers(&[&[1, 1], kernel].concat());
    graph.node("Expand", &[&one, &shape], &[])
}
