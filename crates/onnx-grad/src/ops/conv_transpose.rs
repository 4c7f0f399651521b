//! ConvTranspose: the transpose of a convolution, `y[n, m, stride·p + dilation·t − begin] = b[m] + Σ
//! w[c, m, t]·x[n, c, p]`, in one or two dimensions. Saves `x` and `w`.

use super::shared_convolution::{Convolution, bias_gradient};
use super::shared_windows::{TAPS_MAX, Windows, check_taps};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Shape, ValueType, show};

pub(crate) struct ConvTranspose;

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let own = read(site)?;
        Convolution::check_bias(site, own.inputs)?;
        let mut shape: Shape = vec![site.input(0)?.shape()[0], Dim::Fixed(own.inputs as u64)];
        let sizes = own
            .windows
            .0
            .iter()
            .map(|axis| Dim::Fixed(axis.input as u64));
        shape.extend(sizes);
        Ok(vec![ValueType::f32(shape)])
    }

    /// As many as of the convolution that leads back.
    fn flops(&self, site: &Site<'_>) -> u64 {
        read(site).map_or(0, |own| own.flops())
    }

    /// `dx` is the convolution of `dy`, and `dw` its weight gradient with `x` and `dy` in each other's place.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let own = read(site)?;
        let (x, w) = (&site.input(0)?.name, &site.input(1)?.name);
        Ok(vec![
            site.wants(0)
                .then(|| graph.node("Conv", &[upstream, w], &own.attributes())),
            site.wants(1)
                .then(|| own.weight_gradient(upstream, x, graph)),
            site.wants(2)
                .then(|| bias_gradient(upstream, own.windows.rank(), graph)),
        ])
    }
}

/// The convolution that leads from the output back to the input.
fn read(site: &Site<'_>) -> Result<Convolution, String> {
    let x = site.float(0)?;
    let weights = Convolution::weights(site)?;
    let windows = Windows::read_transposed(site, x.shape(), &weights[2..])?;
    check_taps(&windows.each(|axis| axis.kernel), TAPS_MAX)?;
    let outputs = Convolution::channels(x)?;
    let group = Convolution::group(site, outputs)?;
    let inputs = weights[1].checked_mul(group);
    let (true, Some(inputs)) = (weights[0] == outputs, inputs) else {
        return Err(format!(
            "its weights {weights:?} do not fit {}",
            show(x.shape())
        ));
    };
    Ok(Convolution {
        inputs,
        outputs,
        group,
        windows,
    })
}
