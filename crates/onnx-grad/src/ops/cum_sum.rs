//! CumSum: sums of the elements up to each along an axis, or from each on (`reverse`), without the
//! element itself where `exclusive`. Saves nothing.

use super::{InputGradients, Operator, shared, shared_axes};
use crate::attributes::{int, int_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{ValueType, normalize_axis};

pub(crate) struct CumSum;

impl Operator for CumSum {
    fn name(&self) -> &'static str {
        "CumSum"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(2)?;
        shared::number(site, 0)?;
        let input = site.input(0)?;
        let shape = input.shape();
        let axis = shared_axes::known_number(site, 1)?
            .fixed()
            .ok_or("its axis depends on the size of the batch")?;
        let axis = normalize_axis(axis, shape.len())?;
        shared_axes::fixed_size(shape, axis, "runs over")?;
        Ok(vec![input.value_type.clone()])
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx` is the same sum of `dy` from the other end.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let attribute = |name: &str| i64::from(int_or(site.proto, name, 0) != 0);
        let attributes = [
            int("exclusive", attribute("exclusive")),
            int("reverse", 1 - attribute("reverse")),
        ];
        let axis = &site.input(1)?.name;
        Ok(vec![Some(graph.node(
            "CumSum",
            &[upstream, axis],
            &attributes,
        ))])
    }
}
