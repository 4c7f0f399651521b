//! Trilu: the upper or lower triangle of each matrix, from its `k`-th diagonal. Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{ValueType, show};

pub(crate) struct Trilu;

impl Operator for Trilu {
    fn name(&self) -> &'static str {
        "Trilu"
    }

    fn since(&self) -> i64 {
        14
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let shape = site.input(0)?.shape();
        let Some(outer) = shape.len().checked_sub(2) else {
            return Err(format!(
                "its input is {}, matrices are expected",
                show(shape)
            ));
        };
        for axis in [outer, outer + 1] {
            shared_axes::fixed_size(shape, axis, "takes a triangle over")?;
        }
        shared_axes::moved_into(site, shape.clone())
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is the same triangle of `dy`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let mut inputs = vec![upstream];
        inputs.extend(site.optional(1).map(|diagonal| diagonal.name.as_str()));
        let attributes = &site.proto.attribute;
        Ok(vec![Some(graph.node("Trilu", &inputs, attributes))])
    }
}
