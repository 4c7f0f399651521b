//! Transpose: axes in another order. Saves nothing.

use super::{InputGradients, Operator};
use crate::attributes::find;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

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
