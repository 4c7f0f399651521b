//! GlobalAveragePool: the mean over all axes behind the channels. Saves nothing.

use super::shared_pooling::{infer_whole, whole};
use super::{InputGradients, Operator};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn name(&self) -> &'static str {
        "GlobalAveragePool"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        infer_whole(site)
    }

    /// `dx = dy/count`, everywhere.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let sizes = whole(site)?;
        let count: f32 = sizes.iter().map(|size| *size as f32).product();
        let part = graph.scalar(count.recip());
        let share = graph.node("Mul", &[upstream, &part], &[]);
        let shape = graph.integers(&[&[1, 1], &sizes[..]].concat());
        Ok(vec![Some(graph.node("Expand", &[&share, &shape], &[]))])
    }
}
