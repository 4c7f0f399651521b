//! ReduceProd: `y = Π x` over axes. Saves `x`.

use super::shared_reduce::{self, AXES_INPUT, Reduction};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Element, Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct ReduceProd;

impl Operator for ReduceProd {
    fn name(&self) -> &'static str {
        "ReduceProd"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        shared_reduce::infer_number(site, AXES_INPUT)
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        shared_reduce::known(site, AXES_INPUT, Int::times)
    }

    fn differentiable(&self, input: usize) -> bool {
        input == 0
    }

    /// `dx = dy` times the product of the other elements. Where none of them is 0 it is the product of all
    /// elements but zeros, divided by the element.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let reduction = Reduction::read(site, AXES_INPUT)?;
        let upstream = reduction.spread(upstream, graph);
        let x = &site.input(0)?.name;
        let zero = graph.scalar(0.0);
        let equal = graph.node("Equal", &[x, &zero], &[]);
        let is_zero = graph.cast(&equal, Element::F32);
        // Zeros become 1, so that nothing is divided by 0.
        let factors = graph.node("Add", &[x, &is_zero], &[]);
        let product = reduction.write(site, "ReduceProd", AXES_INPUT, &factors, graph);
        let zeros = reduction.sum(site, &is_zero, graph);
        let alone = graph.node("Equal", &[&zeros, &is_zero], &[]);
        let whole = graph.node("Mul", &[&upstream, &product], &[]);
        let others = graph.node("Div", &[&whole, &factors], &[]);
        Ok(vec![Some(graph.node(
            "Where",
            &[&alone, &others, &zero],
            &[],
        ))])
    }
}
