//! DepthToSpace: `[N, C·b², H, W]` to `[N, C, H·b, W·b]`. Channels hold the places of a block outside of
//! the output's channels (`DCR`) or inside (`CRD`, as PyTorch's pixel shuffle). Saves nothing.

use super::{InputGradients, Operator, shared_blocks::Blocks};
use crate::attributes::{int, text_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::ValueType;

pub(crate) struct DepthToSpace;

impl Operator for DepthToSpace {
    fn name(&self) -> &'static str {
        "DepthToSpace"
    }

    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String> {
        let blocks = Blocks::new(site)?;
        is_depth_inside(site)?;
        let ([channels, height, width], side) = (blocks.sizes, blocks.side);
        let divides = channels % (side * side) == 0;
        let larger = |size: u64| size.checked_mul(side);
        let sizes = || Some([channels / (side * side), larger(height)?, larger(width)?]);
        blocks.output(site, divides.then(sizes).flatten())
    }

    /// `dx` is SpaceToDepth of `dy`, which ONNX has for DCR alone.
    fn gradient(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let blocks = Blocks::new(site)?;
        let ([channels, height, width], side) = (blocks.sizes, blocks.side);
        if !is_depth_inside(site)? {
            let side = int("blocksize", side as i64);
            return Ok(vec![Some(graph.node("SpaceToDepth", &[upstream], &[side]))]);
        }
        let inner = channels / (side * side);
        let apart = [inner, height, side, width, side].map(|size| size as i64);
        let apart = graph.reshape(upstream, &[&[-1], &apart[..]].concat());
        let ordered = graph.transpose(&apart, &[0, 1, 3, 5, 2, 4]);
        let whole = [channels, height, width].map(|size| size as i64);
        let whole = graph.reshape(&ordered, &[&[-1], &whole[..]].concat());
        Ok(vec![Some(whole)])
    }
}

fn is_depth_inside(site: &Site<'_>) -> Result<bool, String> {
    match text_or(site.proto, "mode", "DCR") {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => Err(format!("has the mode `{other}`; there are DCR and CRD")),
    }
}
