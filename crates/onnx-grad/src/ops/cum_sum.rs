//! CumSum: sums of the elements up to each along an axis, or from each on (`reverse`), without the
//! element itself where `exclusive`. Saves nothing.

use super::{InputGradients, Operator, shared};
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
        let axis = match site.fixed_ints(1)?.as_deref() {
            Some(&[axis]) => normalize_axis(axis, shape.len())?,
            Some(axes) => return Err(format!("its axis is {axes:?}, one is expected")),
            None => return Err("input 1, its axis, is missing".to_owned()),
        };
        if shape[axis].fixed().is_none() {
            return Err(format!(
                "it runs over axis {axis}, the batch, which mixes examples"
            ));
        }
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
