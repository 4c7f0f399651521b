//! Identity: `y = x`. Saves nothing.

use super::{InputGradients, Operator, shared_axes};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::ValueType;
use crate::tensor::Tensor;

pub(crate) struct Identity;

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "Identity"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        Ok(vec![site.input(0)?.value_type.clone()])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let few = |tensor: &&Tensor| tensor.count() <= shared_axes::KNOWN_MAX as u64;
        Ok(site.input(0)?.constant.as_ref().filter(few).cloned())
    }

    /// `dx = dy`.
    fn gradient(
        &self,
        _site: &Site<'_>,
        upstream: &str,
        _graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        Ok(vec![Some(upstream.to_owned())])
    }
}
