//! What a region's facts come to: counts, durations, and who was slow.

use serde::{Deserialize, Serialize};

use crate::clock::Interval;
use crate::device::{DevicePhase, FittedPhase, fit_device_spans};
use crate::region::{DeviceOutcome, DeviceRow, RegionTrace};

/// A device is a straggler when it takes this many times the median of its region's accepted devices …
const SLOW_FACTOR: u64 = 2;
/// … and at least this much more [µs] …
const SLOW_EXCESS_US: u64 = 500_000;
/// … of at least this many devices.
const SLOW_DEVICES_MIN: usize = 3;

/// What a region's part came to; a fog may send it along with its partial sum, so that the root's spans show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionSummary {
    /// Devices asked.
    pub selected: u32,
    /// Devices in the sum.
    pub accepted: u32,
    /// Devices whose last contribution was refused.
    pub rejected: u32,
    /// Devices that fell silent or were absent.
    pub dropped: u32,
    /// Devices that said no.
    pub declined: u32,
    /// Devices that have a span.
    pub traced: u32,
    /// Times the fog came back.
    pub restarts: u32,
    /// Admitted contributions that were lost.
    pub lost: u32,
    /// Spans with error status below the region.
    pub incidents: u32,
    /// The device that took longest.
    pub slowest_device: Option<String>,
    /// The phase in which it spent most, where known.
    pub slowest_phase: Option<String>,
    /// Median duration of the accepted devices [µs].
    pub duration_p50_us: Option<u64>,
    /// 90th percentile of the same [µs].
    pub duration_p90_us: Option<u64>,
}

impl RegionTrace {
    /// What it came to so far; complete once closed.
    pub fn summary(&self) -> RegionSummary {
        let count = |matches: fn(&DeviceOutcome) -> bool| {
            let counted = self
                .devices
                .values()
                .filter(|row| matches(&row.outcome))
                .count();
            u32::try_from(counted).unwrap_or(u32::MAX)
        };
        let durations = self.accepted_durations();
        let slowest = self
            .devices
            .iter()
            .filter(|(_, row)| {
                !matches!(
                    row.outcome,
                    DeviceOutcome::Declined(_) | DeviceOutcome::Absent(_)
                )
            })
            .max_by_key(|(_, row)| self.device_time(row).duration_us());
        let incidents = count(DeviceOutcome::is_incident).saturating_add(self.restart_count());
        RegionSummary {
            selected: count(|_| true),
            accepted: count(|outcome| matches!(outcome, DeviceOutcome::Accepted)),
            rejected: count(|outcome| matches!(outcome, DeviceOutcome::Rejected(_))),
            dropped: count(|outcome| {
                matches!(
                    outcome,
                    DeviceOutcome::Dropped { .. } | DeviceOutcome::Absent(_)
                )
            }),
            declined: count(|outcome| matches!(outcome, DeviceOutcome::Declined(_))),
            traced: u32::try_from(self.traced().len()).unwrap_or(u32::MAX),
            restarts: self.restart_count(),
            lost: self.restarts.iter().map(|restart| restart.lost).sum(),
            incidents,
            slowest_device: slowest.map(|(device, _)| device.clone()),
            slowest_phase: slowest
                .and_then(|(_, row)| self.longest_phase(row))
                .map(|phase| phase.as_str().to_owned()),
            duration_p50_us: quantile(&durations, 50),
            duration_p90_us: quantile(&durations, 90),
        }
    }

    fn restart_count(&self) -> u32 {
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    /// A device's time on this fog's clock; one that is still waited for ends with what is known.
    pub(crate) fn device_time(&self, row: &DeviceRow) -> Interval {
        let open_end = self.close.map_or(row.start_us, |(start_us, _)| start_us);
        Interval::new(row.start_us, row.end_us.unwrap_or(open_end))
    }

    /// A device's own phases on this fog's clock.
    pub(crate) fn phases(&self, row: &DeviceRow) -> Vec<FittedPhase> {
        row.spans
            .as_ref()
            .map_or_else(Vec::new, |(spans, received_us)| {
                fit_device_spans(spans, *received_us, &self.device_time(row))
            })
    }

    /// The phase a device spent most in, or was last heard of in.
    pub(crate) fn longest_phase(&self, row: &DeviceRow) -> Option<DevicePhase> {
        let longest = self
            .phases(row)
            .into_iter()
            .max_by_key(|phase| phase.time.duration_us());
        longest.map(|phase| phase.phase).or(match row.outcome {
            DeviceOutcome::Dropped { phase, .. } => phase,
            _ => None,
        })
    }

    /// Durations of the accepted devices, sorted [µs].
    pub(crate) fn accepted_durations(&self) -> Vec<u64> {
        let accepted = self
            .devices
            .values()
            .filter(|row| row.outcome == DeviceOutcome::Accepted);
        let mut durations: Vec<u64> = accepted
            .map(|row| self.device_time(row).duration_us())
            .collect();
        durations.sort_unstable();
        durations
    }

    /// From which duration on an accepted device is a straggler [µs]; none while there are too few to compare.
    pub(crate) fn slow_from_us(&self, accepted_durations: &[u64]) -> Option<u64> {
        if accepted_durations.len() < SLOW_DEVICES_MIN {
            return None;
        }
        let median = quantile(accepted_durations, 50)?;
        Some((median.saturating_mul(SLOW_FACTOR)).max(median.saturating_add(SLOW_EXCESS_US)))
    }
}

/// The smallest value that at least `percent` of the sorted values do not exceed (nearest rank).
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[7], 90), Some(7));
        assert_eq!(quantile(&[1, 2, 3, 4], 50), Some(2));
        assert_eq!(quantile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 90), Some(9));
    }
}
