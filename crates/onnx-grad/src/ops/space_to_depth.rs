//! SpaceToDepth: `[N, C, H·b, W·b]` to `[N, b²·C, H, W]`. Saves nothing.

use super::{InputGradients, Operator, shared_blocks::Blocks};
use crate::attributes::int;
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct SpaceToDepth;

impl Operator for SpaceToDepth {
    fn name(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let blocks = Blocks::new(site)?;
        let ([channels, height, width], side) = (blocks.sizes, blocks.side);
        let divides = height % side == 0 && width % side == 0;
        let sizes = || {
            let deep = channels.checked_mul(side * side)?;
            Some([deep, height / side, width / side])
        };
        blocks.output(site, divides.then(sizes).flatten())
    }

    /// `dx` is DepthToSpace of `dy`.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let side = int("blocksize", Blocks::new(site)?.side as i64);
        Ok(vec![Some(graph.node("DepthToSpace", &[upstream], &[side]))])
    }
}
