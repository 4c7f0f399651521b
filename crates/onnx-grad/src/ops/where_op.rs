//! Where: `y = a` where a mask is true, else `b`, broadcasting. Saves the mask.

use super::shared_known::Known;
use super::{InputGradients, Operator, shared};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::shape::{Int, ValueType};
use crate::tensor::Tensor;

pub(crate) struct Where;

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        site.at_most_inputs(3)?;
        shared::mask(site, 0)?;
        Ok(vec![ValueType {
            element: shared::common_number(site, 1..3)?,
            shape: shared::broadcast_shape(site, 0..3)?,
        }])
    }

    fn constant(&self, site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        let mask = Known::mask(site.input(0)?);
        let (a, b) = (Known::ints(site.input(1)?), Known::ints(site.input(2)?));
        let known = mask.zip(a).zip(b).and_then(|((mask, a), b)| {
            // What is taken of `a`; none where `b` is.
            let taken = mask.zip(&a, |mask, a| Some(mask.then_some(a)))?;
            taken.zip(&b, |taken, b| Some(taken.unwrap_or(b)))
        });
        Ok(known.map(Known::<Int>::tensor))
    }

    fn differentiable(&self, input: usize) -> bool {
        input > 0
    }

    /// `da = dy` where the mask is true, else 0; `db` the other way round.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let mask = &site.input(0)?.name;
        let zero = graph.scalar(0.0);
        let mut part = |index: usize, choices: [&str; 2]| {
            site.wants(index)
                .then(|| graph.node("Where", &[mask, choices[0], choices[1]], &[]))
        };
        let whole = vec![None, part(1, [upstream, &zero]), part(2, [&zero, upstream])];
        shared::unbroadcast_all(site, whole, graph)
    }
}
