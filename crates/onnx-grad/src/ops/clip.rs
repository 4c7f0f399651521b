//! Clip: `y = min(max(x, low), high)`; either bound may be left out, and neither is trained. Saves `y`.

use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, ValueType, show};

/// Where the lower bound is among the inputs.
const LOW: usize = 1;
/// Where the upper bound is among the inputs.
const HIGH: usize = 2;

pub(crate) struct Clip;

impl Operator for Clip {
    fn name(&self) -> &'static str {
        "Clip"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        let element = shared::number(site, 0)?;
        for index in [LOW, HIGH] {
            let Some(bound) = site.optional(index) else {
                continue;
            };
            let is_single = matches!(bound.shape()[..], [] | [Dim::Fixed(1)]);
            if bound.value_type.element != element || !is_single {
                return Err(format!(
                    "its bound `{}` is {:?} {}, a single {element:?} is expected",
                    bound.name,
                    bound.value_type.element,
                    show(bound.shape())
                ));
            }
        }
        Ok(vec![site.input(0)?.value_type.clone()])
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy` where `low < y < high`, else 0, also at the bounds.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        let mut inside = |comparison: &str, index: usize| {
            let bound = site.optional(index)?;
            Some(graph.node(comparison, &[y, &bound.name], &[]))
        };
        let inside = match (inside("Greater", LOW), inside("Less", HIGH)) {
            (Some(above), Some(below)) => graph.node("And", &[&above, &below], &[]),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(vec![Some(upstream.to_owned())]),
        };
        let zero = graph.scalar(0.0);
        Ok(vec![Some(graph.node(
            "Where",
            &[&inside, upstream, &zero],
            &[],
        ))])
    }
}
