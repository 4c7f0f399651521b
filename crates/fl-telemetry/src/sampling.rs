//! Which devices of a large round have spans, so that no trace passes [`SPANS_MAX`].

use sha2::{Digest, Sha256};

use crate::ids::TraceId;

/// Most spans of a trace.
pub const SPANS_MAX: usize = 1000;
/// Up to this many devices, all are traced.
pub const DEVICES_ALL_MAX: u32 = 128;
/// Beyond it, about this many are drawn by their hash …
pub const DEVICES_DRAWN: u32 = 64;
/// … and at most this many more because they were bad or slow, evenly by region.
pub const DEVICES_NOTABLE_MAX: u32 = 64;

/// How large a round is; from the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Devices asked in all regions.
    pub devices: u32,
    /// Regions asked.
    pub regions: u32,
}

/// Whether a device is traced by draw; the device and its fog compute the same.
pub fn is_drawn(trace: &TraceId, device: &str, totals: Totals) -> bool {
    if totals.devices <= DEVICES_ALL_MAX {
        return true;
    }
    let digest = Sha256::new()
        .chain_update(trace.as_bytes())
        .chain_update(device.as_bytes())
        .finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // hash / 2^64 < drawn / devices, in integers.
    u128::from(u64::from_be_bytes(head)) * u128::from(totals.devices)
        < u128::from(DEVICES_DRAWN) << 64
}

/// How many bad or slow devices one region may show beyond the draw.
pub fn notable_per_region(totals: Totals) -> usize {
    (DEVICES_NOTABLE_MAX / totals.regions.max(1)).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rounds_are_traced_in_full() {
        let trace = TraceId::of_round("air", 1, 0);
        let totals = Totals {
            devices: DEVICES_ALL_MAX,
            regions: 3,
        };
        assert!((0..200).all(|n| is_drawn(&trace, &format!("edge-{n}"), totals)));
    }

    #[test]
    fn large_rounds_draw_about_sixty_four() {
        for devices in [129, 1000, 10_000] {
            let trace = TraceId::of_round("air", devices, 0);
            let totals = Totals {
                devices,
                regions: 3,
            };
            let drawn = (0..devices)
                .filter(|n| is_drawn(&trace, &format!("edge-{n}"), totals))
                .count();
            // A binomial of mean 64: beyond ±40 lies less than one draw in a million, and the draw is fixed.
            assert!((24..=104).contains(&drawn), "{drawn} of {devices}");
        }
    }
}
