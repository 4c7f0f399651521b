//! Squeeze: axes of size 1 dropped. Saves nothing.

use super::{InputGradients, Operator, shared, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Dim, Shape, ValueType, show};
use crate::tensor::Tensor;

pub(crate) struct Squeeze;

impl Operator for Squeeze {
    fn name(&self) -> &'static str {
        "Squeeze"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        let shape = site.input(0)?.shape();
        let dropped = match site.fixed_ints(1)? {
            Some(axes) => shared_axes::distinct_axes(&axes, shape.len())?,
            None => (0..shape.len())
                .filter(|&axis| shape[axis] == Dim::Fixed(1))
                .collect(),
        };
        if let Some(axis) = dropped.iter().find(|axis| shape[**axis] != Dim::Fixed(1)) {
            return Err(format!(
                "drops axis {axis} of {}, which is not of size 1",
                show(shape)
            ));
        }
        let kept = (0..shape.len()).filter(|axis| !dropped.contains(axis));
        let kept: Shape = kept.map(|axis| shape[axis]).collect();
        shared_axes::moved_into(site, kept)
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
