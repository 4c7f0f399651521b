//! Relu: `y = max(x, 0)`. Saves `y`.

use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct Relu;

impl Operator for Relu {
    fn name(&self) -> &'static str {
        "Relu"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        Ok(vec![site.float(0)?.value_type.clone()])
    }

    /// `dx = dy` where `y > 0`, else 0; at 0 the gradient is 0.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let y = &site.output()?.name;
        if graph.kernels.simple {
            // tract takes a choice by a comparison as long as twenty products.
            let active = graph.node("Sign", &[y], &[]);
            return Ok(vec![Some(graph.node("Mul", &[upstream, &active], &[]))]);
        }
        let zero = graph.scalar(0.0);
        let active = graph.node("Greater", &[y, &zero], &[]);
        Ok(vec![Some(graph.node(
            "Where",
            &[&active, upstream, &zero],
            &[],
        ))])
    }
}
