//! Conv: `y[n, m, p] = b[m] + Σ w[m, c, t]·x[n, c, stride·p + dilation·t − begin]` over input channels c of
//! the group and elements t of the window, in one or two dimensions. Saves `x` and `w`.

use super::shared_blocked::Blocked;
use super::shared_convolution::{Convolution, bias_gradient};
use super::shared_windows::{TAPS_MAX, Windows, check_taps};
use super::{InputGradients, Operator};
use crate::attributes::{ints, text_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, show};

pub(crate) struct Conv;

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let own = read(site)?;
        Convolution::check_bias(site, own.outputs)?;
        let mut shape: Shape = vec![site.input(0)?.shape()[0], Dim::Fixed(own.outputs as u64)];
        let places = own
            .windows
            .0
            .iter()
            .map(|axis| Dim::Fixed(axis.outputs as u64));
        shape.extend(places);
        Ok(vec![ValueType::f32(shape)])
    }

    /// For every element of the output a window of the group's input channels.
    fn flops(&self, site: &Site<'_>) -> u64 {
        read(site).map_or(0, |own| own.flops())
    }

    fn train(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        Ok(in_blocks(site, true, graph)? || explicit(site, graph)?)
    }

    fn evaluate(&self, site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
        Ok(in_blocks(site, false, graph)? || explicit(site, graph)?)
    }

    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let own = read(site)?;
        if let Some(own) = Blocked::of(&own, graph.kernels) {
            return own.gradients(site, upstream, graph);
        }
        let (x, w) = (&site.input(0)?.name, &site.input(1)?.name);
        Ok(vec![
            site.wants(0)
                .then(|| own.input_gradient(upstream, w, graph)),
            site.wants(1)
                .then(|| own.weight_gradient(x, upstream, graph)),
            site.wants(2)
                .then(|| bias_gradient(upstream, own.windows.rank(), graph)),
        ])
    }
}

/// Writes the node over blocks of channels, where that can be. Returns whether it did.
fn in_blocks(site: &Site<'_>, training: bool, graph: &mut GraphBuilder) -> Result<bool, String> {
    match Blocked::of(&read(site)?, graph.kernels) {
        Some(own) => own.forward(site, training, graph).map(|()| true),
        None => Ok(false),
    }
}

fn read(site: &Site<'_>) -> Result<Convolution, String> {
    let x = site.float(0)?;
    let weights = Convolution::weights(site)?;
    let windows = Windows::read(site, x.shape(), &weights[2..])?;
    check_taps(&windows.each(|axis| axis.kernel), TAPS_MAX)?;
    let (inputs, outputs) = (Convolution::channels(x)?, weights[0]);
    let group = Convolution::group(site, inputs)?;
    if inputs / group != weights[1] || outputs % group != 0 {
        return Err(format!(
            "its weights {weights:?} do not fit {} in {group} groups",
            show(x.shape())
        ));
    }
    Ok(Convolution {
        inputs,
        outputs,
        group,
        windows,
    })
}

/// The node with its pads in numbers, where ONNX Runtime does not find them by itself: for dilated windows.
fn explicit(site: &Site<'_>, graph: &mut GraphBuilder) -> Result<bool, String> {
    let windows = read(site)?.windows;
    let automatic = text_or(site.proto, "auto_pad", "NOTSET").starts_with("SAME");
    if !automatic || windows.0.iter().all(|axis| axis.dilation == 1) {
        return Ok(false);
    }
    let pads = windows.0.iter().map(|axis| axis.begin);
    let pads: Vec<i64> = pads.chain(windows.0.iter().map(|axis| axis.end)).collect();
    let mut node = site.proto.clone();
    node.attribute
        .retain(|own| !matches!(own.name(), "auto_pad" | "pads"));
    node.attribute.push(ints("pads", &pads));
    graph.nodes.push(node);
    Ok(true)
}
