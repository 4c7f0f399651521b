//! The integer grid on which updates are added exactly.

use crate::contribution::EncodedUpdate;

/// How many bits an encoded coordinate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GridWidth {
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
}

impl GridWidth {
    /// The width in bits.
    pub fn bits(self) -> u32 {
        match self {
            GridWidth::W16 => 16,
            GridWidth::W32 => 32,
        }
    }

    /// The width of that many bits, where it is supported.
    pub fn from_bits(bits: u32) -> Option<Self> {
        [GridWidth::W16, GridWidth::W32]
            .into_iter()
            .find(|width| width.bits() == bits)
    }

    /// The largest magnitude that a coordinate can take: 2^(bits−1) − 1.
    pub fn magnitude_max(self) -> i32 {
        match self {
            GridWidth::W16 => i16::MAX.into(),
            GridWidth::W32 => i32::MAX,
        }
    }
}

/// One spacing per tensor: coordinate x becomes round(x · 2^−exponent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Width of every coordinate of the round.
    pub width: GridWidth,
    /// One per tensor, in the order of the model's parameters; within ±[`Grid::EXPONENT_MAX`].
    pub exponents: Vec<i16>,
}

/// Why an update cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// A coordinate is NaN or infinite; a cast would quietly have made it 0 or the maximum.
    #[error("coordinate {index} of tensor {tensor} is not finite: the update diverged")]
    NotFinite {
        /// Position of the tensor.
        tensor: usize,
        /// Position of the coordinate in it.
        index: usize,
    },
    /// The update has another number of tensors than the grid has exponents.
    #[error("the update has {update} tensors, the plan's grid has {grid}")]
    Tensors {
        /// Tensors in the update.
        update: usize,
        /// Exponents in the grid.
        grid: usize,
    },
}

/// 2^exponent, exactly, for exponents within ±[`Grid::EXPONENT_MAX`].
fn power_of_two(exponent: i16) -> f64 {
    debug_assert!(exponent.abs() <= Grid::EXPONENT_MAX);
    f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52)
}

/// The smallest m with 2^m ≥ x, for finite x > 0.
fn exponent_above(x: f32) -> i16 {
    let wide = f64::from(x);
    let bits = wide.to_bits();
    let floor = ((bits >> 52) & 0x7ff) as i16 - 1023;
    let exact = bits & ((1 << 52) - 1) == 0;
    if exact { floor } else { floor + 1 }
}

impl Grid {
    /// Largest magnitude of an exponent; beyond what a 32-bit float can hold.
    pub const EXPONENT_MAX: i16 = 200;

    /// Magnitude exponent of a tensor that is zero everywhere.
    pub const ALL_ZERO: i16 = i16::MIN;

    /// The grid of the first round: wide enough for any coordinate of an update with norm `clip_norm`.
    pub fn for_clip_norm(width: GridWidth, clip_norm: f32, tensors: usize) -> Self {
        Self {
            width,
            exponents: vec![Self::exponent_for(width, exponent_above(clip_norm)); tensors],
        }
    }

    /// The exponent of a grid whose largest coordinate is 2^magnitude.
    fn exponent_for(width: GridWidth, magnitude: i16) -> i16 {
        let exponent = magnitude.saturating_sub(width.bits() as i16 - 1);
        exponent.clamp(-Self::EXPONENT_MAX, Self::EXPONENT_MAX)
    }

    /// The next round's grid: one bit above the largest magnitude seen per tensor, and one bit wider
    /// spaced again where more than 0.1 % of the coordinates saturated.
    ///
    /// `magnitudes` and `saturated` are per tensor over all contributions; `coordinates` is how many
    /// coordinates of that tensor were encoded in all. Devices state their magnitudes themselves, but
    /// none has a coordinate above `clip_norm`: the grid goes one bit beyond it at most, so that no
    /// device can make it too coarse for the others.
    pub fn adapted(
        &self,
        clip_norm: f32,
        magnitudes: &[i16],
        saturated: &[u64],
        coordinates: &[u64],
    ) -> Self {
        let magnitude_max = exponent_above(clip_norm).saturating_add(1);
        let spacing = |tensor: usize| {
            let before = self.exponents[tensor];
            let seen = magnitudes.get(tensor).copied().unwrap_or(Self::ALL_ZERO);
            if seen == Self::ALL_ZERO {
                return before;
            }
            let lost = saturated.get(tensor).copied().unwrap_or(0);
            let of = coordinates.get(tensor).copied().unwrap_or(0);
            let widen = i16::from(lost.saturating_mul(1000) > of);
            let magnitude = seen.saturating_add(1 + widen).min(magnitude_max);
            Self::exponent_for(self.width, magnitude)
        };
        Self {
            width: self.width,
            exponents: (0..self.exponents.len()).map(spacing).collect(),
        }
    }

    /// The value of one step of tensor `tensor`.
    pub fn step(&self, tensor: usize) -> f64 {
        power_of_two(self.exponents[tensor])
    }

    /// Rounds an update to the grid, to nearest with ties to even, saturating at the width.
    ///
    /// `update` has one slice of coordinates per tensor. What saturates or rounds away is in the
    /// returned residual. Refuses an update that is not finite.
    pub fn encode(&self, update: &[Vec<f32>]) -> Result<EncodedUpdate, GridError> {
        if update.len() != self.exponents.len() {
            return Err(GridError::Tensors {
                update: update.len(),
                grid: self.exponents.len(),
            });
        }
        let mut encoded = EncodedUpdate::default();
        for (tensor, values) in update.iter().enumerate() {
            self.encode_tensor(tensor, values, &mut encoded)?;
        }
        Ok(encoded)
    }

    fn encode_tensor(
        &self,
        tensor: usize,
        values: &[f32],
        into: &mut EncodedUpdate,
    ) -> Result<(), GridError> {
        let step = self.step(tensor);
        let per_step = power_of_two(-self.exponents[tensor]);
        let limit = f64::from(self.width.magnitude_max());
        let mut q = Vec::with_capacity(values.len());
        let mut residual = Vec::with_capacity(values.len());
        let (mut largest, mut saturated) = (0f32, 0u64);
        for (index, &x) in values.iter().enumerate() {
            if !x.is_finite() {
                return Err(GridError::NotFinite { tensor, index });
            }
            let exact = (f64::from(x) * per_step).round_ties_even();
            let kept = exact.clamp(-limit, limit);
            saturated += u64::from(kept != exact);
            largest = largest.max(x.abs());
            q.push(kept as i32);
            residual.push((f64::from(x) - kept * step) as f32);
        }
        into.q.push(q);
        into.residual.push(residual);
        into.saturated.push(saturated);
        into.magnitudes.push(if largest == 0.0 {
            Self::ALL_ZERO
        } else {
            exponent_above(largest)
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exponents_are_the_smallest_power_above() {
        let check = |x: f32, expected: i16| assert_eq!(exponent_above(x), expected, "{x}");
        check(1.0, 0);
        check(1.5, 1);
        check(2.0, 1);
        check(0.5, -1);
        check(0.3, -1);
        check(f32::MAX, 128);
        check(f32::from_bits(1), -149);
    }

    #[test]
    fn what_is_not_finite_is_refused_at_its_place() {
        let grid = Grid::for_clip_norm(GridWidth::W32, 1.0, 2);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let refused = grid.encode(&[vec![0.0], vec![0.0, bad]]);
            let place = GridError::NotFinite {
                tensor: 1,
                index: 1,
            };
            assert_eq!(refused, Err(place));
        }
    }

    #[test]
    fn saturation_goes_to_the_residual() {
        let grid = Grid {
            width: GridWidth::W16,
            exponents: vec![-14],
        };
        let encoded = grid.encode(&[vec![3.0, -3.0, 1.0]]).unwrap();
        assert_eq!(encoded.q, [[32767, -32767, 16384]]);
        assert_eq!(encoded.saturated, [2]);
        assert_eq!(encoded.magnitudes, [2]);
        assert_eq!(encoded.residual[0][0], (3.0 - 32767.0 / 16384.0) as f32);
        let wider = grid.adapted(8.0, &encoded.magnitudes, &encoded.saturated, &[3]);
        assert_eq!(wider.exponents, [-11]);
        let same = grid.adapted(8.0, &[Grid::ALL_ZERO], &[0], &[3]);
        assert_eq!(same, grid);
    }

    #[test]
    fn no_claim_makes_the_grid_coarser_than_the_clip_norm_asks_for() {
        for width in [GridWidth::W16, GridWidth::W32] {
            let grid = Grid::for_clip_norm(width, 10.0, 2);
            let claimed = [i16::MAX, Grid::ALL_ZERO + 1];
            let next = grid.adapted(10.0, &claimed, &[u64::MAX, 0], &[1, 1]);
            assert_eq!(next.exponents[0], grid.exponents[0] + 1);
            assert_eq!(next.exponents[1], -Grid::EXPONENT_MAX);
            let honest = next.encode(&[vec![0.1], vec![0.0]]).unwrap();
            assert_ne!(honest.q[0], [0], "an update is rounded away");
        }
    }

    proptest! {
        #[test]
        fn encoding_is_within_half_a_step(
            values in prop::collection::vec(-8.0f32..8.0, 1..50),
            wide in any::<bool>(),
        ) {
            let width = if wide { GridWidth::W32 } else { GridWidth::W16 };
            let grid = Grid::for_clip_norm(width, 16.0, 1);
            let encoded = grid.encode(std::slice::from_ref(&values)).unwrap();
            let step = grid.step(0);
            for (x, &q) in values.iter().zip(&encoded.q[0]) {
                prop_assert!((f64::from(*x) - f64::from(q) * step).abs() <= step / 2.0);
            }
            prop_assert_eq!(encoded.saturated[0], 0);
        }
    }
}
