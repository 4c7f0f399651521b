//! Transpose: axes in another order. Saves nothing.

use super::shared_known::Known;
use super::{InputGradients, Operator};
use crate::attributes::find;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Transpose;

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        let input = site.input(0)?;
        Ok(vec![ValueType {
            element: input.value_type.element,
            shape: order(site)?
                .into_iter()
                .map(|axis| input.shape()[axis])
                .collect(),
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let input = site.input(0)?;
        let Some(known) = Known::ints(input) else {
            return Ok(None);
        };
        let whole = |axis: usize| {
            let size = input.shape()[axis].fixed()?;
            Some((axis, (0..size as usize).collect()))
        };
        let axes: Option<Vec<_>> = order(site)?.into_iter().map(whole).collect();
        Ok(axes
            .and_then(|axes| known.picked(&axes))
            .map(Known::<Int>::tensor))
    }

    /// `dx = dy` with the axes put back.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let order = order(site)?;
        let mut inverse = vec![0; order.len()];
        for (to, from) in order.into_iter().enumerate() {
            inverse[from] = to as i64;
        }
        Ok(vec![Some(graph.transpose(upstream, &inverse))])
    }
}

/// Which input axis each output axis is; the reverse where the node does not say.
fn order(site: &Site<'_>) -> Result<Vec<usize>, String> {
    let rank = site.input(0)?.shape().len();
    let Some(attribute) = find(site.proto, "perm") else {
        return Ok((0..rank).rev().collect());
    };
    let mut sorted = attribute.ints.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank as i64) {
        return Err(format!(
            "{:?} is not an order of {rank} axes",
            attribute.ints
        ));
    }
    Ok(attribute.ints.iter().map(|axis| *axis as usize).collect())
}
