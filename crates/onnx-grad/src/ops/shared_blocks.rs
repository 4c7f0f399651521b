//! What DepthToSpace and SpaceToDepth do alike.

use super::shared_axes;
use crate::attributes::int_or;
use crate::graph::Site;
use crate::shape::{Shape, ValueType, show};

/// Channels, height and width of an input `[N, C, H, W]`, and the length of a block's side.
pub(super) struct Blocks {
    pub(super) sizes: [u64; 3],
    pub(super) side: u64,
}

/// Longest side of a block, so that its square does not overflow.
const SIDE_MAX: u64 = 1 << 15;

impl Blocks {
    pub(super) fn new(site: &Site<'_>) -> Result<Self, String> {
        site.at_most_inputs(1)?;
        let shape = site.float(0)?.shape();
        if shape.len() != 4 {
            return Err(format!(
                "its input is {}, [N,C,H,W] is expected",
                show(shape)
            ));
        }
        let size = |axis| shared_axes::fixed_size(shape, axis, "moves blocks along");
        let side = u64::try_from(int_or(site.proto, "blocksize", 0)).unwrap_or(0);
        if !(1..=SIDE_MAX).contains(&side) {
            return Err(format!("its blocksize is not from 1 to {SIDE_MAX}"));
        }
        Ok(Self {
            sizes: [size(1)?, size(2)?, size(3)?],
            side,
        })
    }

    /// The output's type, of these channels, height and width; none where blocks do not divide the input.
    pub(super) fn output(
        &self,
        site: &Site<'_>,
        sizes: Option<[u64; 3]>,
    ) -> Result<Vec<ValueType>, String> {
        let shape = site.float(0)?.shape();
        let sizes = sizes
            .ok_or_else(|| format!("{} is not made of blocks of {}", show(shape), self.side))?;
        let mut output: Shape = vec![shape[0]];
        output.extend(sizes.map(crate::shape::Dim::Fixed));
        Ok(vec![ValueType::f32(output)])
    }
}
