//! GlobalMaxPool: the largest element over all axes behind the channels. Equal largest elements share
//! the gradient evenly, as in PyTorch's `amax`. Saves `x` and `y`.

use super::shared_pooling::{equals, infer_whole, whole};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "GlobalMaxPool"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        infer_whole(site)
    }

    /// `dx = e·dy/Σe`, where `e` is 1 at the elements that equal the largest.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let axes: Vec<i64> = (2..).take(whole(site)?.len()).collect();
        let equal = equals(&site.input(0)?.name, &site.output()?.name, graph);
        let count = graph.reduce_sum(&equal, &axes, true);
        let share = graph.node("Div", &[upstream, &count], &[]);
        Ok(vec![Some(graph.node("Mul", &[&equal, &share], &[]))])
    }
}
