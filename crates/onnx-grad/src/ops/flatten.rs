//! Flatten: a matrix, with the axes before `axis` in its rows. Saves nothing.

use super::{InputGradients, Operator, shared};
use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, ValueType, elements_per_example, normalize_axis};

pub(crate) struct Flatten;

impl Operator for Flatten {
    fn name(&self) -> &'static str {
        "Flatten"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(1)?;
        let input = site.input(0)?;
        let rank = input.shape().len();
        // Unlike other axes, this one may be one past the last.
        let axis = match int_or(site.proto, "axis", 1) {
            axis if axis == rank as i64 => rank,
            axis => normalize_axis(axis, rank)?,
        };
        let (rows, columns) = input.shape().split_at(axis);
        Ok(vec![ValueType {
            element: input.value_type.element,
            shape: vec![product(rows)?, product(columns)?],
        }])
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

fn product(dims: &[Dim]) -> Result<Dim, String> {
    let size = elements_per_example(dims).ok_or("its sizes overflow")?;
    match dims.iter().any(|dim| matches!(dim, Dim::Batch(_))) {
        true => Ok(Dim::Batch(size)),
        false => Ok(Dim::Fixed(size)),
    }
}
