//! Unsqueeze: axes of size 1 put in. Saves nothing.

use super::{InputGradients, Operator, shared, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Unsqueeze;

impl Operator for Unsqueeze {
    fn name(&self) -> &'static str {
        "Unsqueeze"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let mut shape = site.input(0)?.shape().clone();
        let axes = site.fixed_ints(1)?.ok_or("input 1 is missing")?;
        // Axes count in the output.
        let mut added = shared_axes::distinct_axes(&axes, shape.len() + axes.len())?;
        added.sort_unstable();
        for axis in added {
            shape.insert(axis, Dim::Fixed(1));
        }
        shared_axes::moved_into(site, shape)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared::known_in(site, self.infer(site)?)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy` in the input's shape.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        shared::reshape_back(site, upstream, graph)
    }
}
