//! What a fog knows about its region's part in a round. Facts are collected while the round runs and become spans when
//! the region has been closed; see [`RegionTrace::spans`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::staggered;
use crate::device::{DevicePhase, DeviceSpans};
use crate::ids::RoundContext;
use crate::sampling::Totals;

pub use crate::region_summary::RegionSummary;

/// Most devices a region keeps facts of; the region's own size limit is far below.
pub const DEVICES_MAX: usize = 100_000;
/// Most rejections of one device that become events.
const REJECTIONS_MAX: usize = 8;
/// Most rejections of senders that have no row which become events.
const STRANGERS_MAX: usize = 8;
/// Most restarts that become spans.
const RESTARTS_MAX: usize = 8;

/// Something moved over a bus: when and how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Start [µs since 1970].
    pub start_us: u64,
    /// End [µs since 1970].
    pub end_us: u64,
    /// Bytes moved [By].
    pub bytes: u64,
    /// Chunks they were cut into; 0: not cut.
    pub chunks: u32,
    /// Chunks or messages sent again.
    pub resends: u32,
}

/// A fog that was away during the round and came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When its last snapshot was written, which is the last thing known of it [µs since 1970].
    pub last_snapshot_us: u64,
    /// When that snapshot had been read again.
    pub loaded_us: u64,
    /// When it took contributions again.
    pub listening_us: u64,
    /// Admitted contributions in the snapshot.
    pub recovered: u32,
    /// Admitted contributions that were not, as far as known.
    pub lost: u32,
}

/// How a device's part ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceOutcome {
    /// Nothing decisive yet.
    Waiting,
    /// Its contribution is in the sum.
    Accepted,
    /// Its last contribution was refused, for this reason.
    Rejected(String),
    /// It fell silent after it had begun, in this phase if known.
    Dropped {
        /// Such as `deadline`, `presence`, `heartbeat`.
        reason: String,
        /// The last phase heard of.
        phase: Option<DevicePhase>,
    },
    /// It said no by a gate of its own.
    Declined(String),
    /// It was not there when the round began; no incident.
    Absent(String),
}

impl DeviceOutcome {
    /// The value of `fl.outcome`.
    pub fn as_str(&self) -> &'static str {
        match self {
            DeviceOutcome::Waiting => "waiting",
            DeviceOutcome::Accepted => "accepted",
            DeviceOutcome::Rejected(_) => "rejected",
            DeviceOutcome::Dropped { .. } | DeviceOutcome::Absent(_) => "dropped",
            DeviceOutcome::Declined(_) => "declined",
        }
    }

    /// The value of `fl.reason`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            DeviceOutcome::Waiting | DeviceOutcome::Accepted => None,
            DeviceOutcome::Rejected(reason)
            | DeviceOutcome::Dropped { reason, .. }
            | DeviceOutcome::Declined(reason)
            | DeviceOutcome::Absent(reason) => Some(reason),
        }
    }

    /// Whether it is an incident, which marks its span as failed.
    pub fn is_incident(&self) -> bool {
        matches!(
            self,
            DeviceOutcome::Rejected(_) | DeviceOutcome::Dropped { .. }
        )
    }
}

/// What a fog knows of one device's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviceRow {
    pub(crate) start_us: u64,
    pub(crate) end_us: Option<u64>,
    pub(crate) outcome: DeviceOutcome,
    pub(crate) admit: Option<(u64, u64)>,
    pub(crate) bytes: u64,
    pub(crate) rejections: Vec<(u64, String)>,
    pub(crate) spans: Option<(DeviceSpans, u64)>,
    pub(crate) version: String,
}

/// A fog's facts of one round. Plain data: a fog may write it beside its snapshot, and emit after a restart what it
/// would have emitted before.
///
/// Call [`RegionTrace::spans`] once the region is settled, so that the last device's own spans are in and the window
/// is known; calling it again gives the same spans, which Jaeger shows once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionTrace {
    pub(crate) context: RoundContext,
    pub(crate) region: String,
    pub(crate) fog: String,
    pub(crate) totals: Totals,
    pub(crate) received_us: u64,
    pub(crate) devices: BTreeMap<String, DeviceRow>,
    pub(crate) fetch: Option<Transfer>,
    pub(crate) broadcast: Option<Transfer>,
    pub(crate) close: Option<(u64, u64)>,
    pub(crate) publish: Option<Transfer>,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) strangers: Vec<(u64, String)>,
    pub(crate) strangers_total: u32,
}

impl RegionTrace {
    /// The facts of a round that has just reached this fog: `received_us` is when its plan arrived.
    pub fn new(
        context: &RoundContext,
        region: &str,
        fog: &str,
        totals: Totals,
        received_us: u64,
    ) -> Self {
        Self {
            context: context.clone(),
            region: region.to_owned(),
            fog: fog.to_owned(),
            totals,
            received_us,
            devices: BTreeMap::new(),
            fetch: None,
            broadcast: None,
            close: None,
            publish: None,
            restarts: Vec::new(),
            strangers: Vec::new(),
            strangers_total: 0,
        }
    }

    /// Which round this is.
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The model has been fetched.
    pub fn fetched_model(&mut self, transfer: Transfer) {
        self.fetch = Some(transfer);
    }

    /// Plan and model have been handed to the region's broker.
    pub fn broadcast(&mut self, transfer: Transfer) {
        self.broadcast = Some(transfer);
    }

    /// A device was asked; its row starts here, a few microseconds after those told before. Tell devices in the order
    /// of their names, for that is how the rows will stand. A second call changes nothing.
    pub fn selected(&mut self, device: &str, at_us: u64) {
        self.row(device, at_us);
    }

    /// A contribution was received, verified, added and saved, and its receipt sent (`done_us`).
    pub fn accepted(&mut self, device: &str, received_us: u64, done_us: u64, bytes: u64) {
        if let Some(row) = self.row(device, received_us)
            && row.outcome != DeviceOutcome::Accepted
        {
            row.outcome = DeviceOutcome::Accepted;
            row.admit = Some((received_us, done_us));
            row.end_us = Some(done_us);
            row.bytes = bytes;
        }
    }

    /// A contribution was received and refused. An accepted device stays accepted; what follows may still be accepted.
    pub fn rejected(&mut self, device: &str, received_us: u64, done_us: u64, reason: &str) {
        if let Some(row) = self.row(device, received_us)
            && row.outcome != DeviceOutcome::Accepted
        {
            row.outcome = DeviceOutcome::Rejected(reason.to_owned());
            row.admit = Some((received_us, done_us));
            row.end_us = Some(done_us);
            if row.rejections.len() < REJECTIONS_MAX {
                row.rejections.push((done_us, reason.to_owned()));
            }
        }
    }

    /// A device said no.
    pub fn declined(&mut self, device: &str, at_us: u64, reason: &str) {
        self.decide(device, at_us, DeviceOutcome::Declined(reason.to_owned()));
    }

    /// A device that had been there fell silent.
    pub fn dropped(&mut self, device: &str, at_us: u64, reason: &str, phase: Option<DevicePhase>) {
        self.decide(
            device,
            at_us,
            DeviceOutcome::Dropped {
                reason: reason.to_owned(),
                phase,
            },
        );
    }

    /// A device of the region was not there when the round began.
    pub fn absent(&mut self, device: &str, at_us: u64, reason: &str) {
        self.decide(device, at_us, DeviceOutcome::Absent(reason.to_owned()));
    }

    /// A device that was given up in this round is heard of again: it is waited for as before.
    pub fn returned(&mut self, device: &str) {
        if let Some(row) = self.devices.get_mut(device)
            && matches!(
                row.outcome,
                DeviceOutcome::Dropped { .. } | DeviceOutcome::Absent(_)
            )
        {
            row.outcome = DeviceOutcome::Waiting;
            row.end_us = None;
        }
    }

    /// Something was refused whose sender has no row: not in the roster, not selected, or a forged signature.
    pub fn stranger_rejected(&mut self, at_us: u64, reason: &str) {
        self.strangers_total = self.strangers_total.saturating_add(1);
        if self.strangers.len() < STRANGERS_MAX {
            self.strangers.push((at_us, reason.to_owned()));
        }
    }

    /// A device's own spans arrived; the first batch counts. `version` is the agent's, for the resource. False: the
    /// device has no row, or had sent a batch before.
    pub fn device_spans(
        &mut self,
        device: &str,
        spans: DeviceSpans,
        received_us: u64,
        version: &str,
    ) -> bool {
        match self.devices.get_mut(device) {
            Some(row) if row.spans.is_none() => {
                row.spans = Some((spans, received_us));
                row.version = version.to_owned();
                true
            }
            _ => false,
        }
    }

    /// The fog is back in the middle of the round.
    pub fn restarted(&mut self, restart: Restart) {
        if self.restarts.len() < RESTARTS_MAX {
            self.restarts.push(restart);
        }
    }

    /// The region was closed: no more contributions from `start_us`, sum complete at `end_us`. Devices still waited
    /// for are dropped, for this reason.
    pub fn closed(&mut self, start_us: u64, end_us: u64, reason_for_silent: &str) {
        self.close = Some((start_us, end_us));
        for row in self.devices.values_mut() {
            if row.outcome == DeviceOutcome::Waiting {
                row.outcome = DeviceOutcome::Dropped {
                    reason: reason_for_silent.to_owned(),
                    phase: None,
                };
                row.end_us = Some(start_us);
            }
        }
    }

    /// The partial sum is in the stream.
    pub fn published(&mut self, transfer: Transfer) {
        self.publish = Some(transfer);
    }

    /// A device's row, made on first sight unless the region is full.
    fn row(&mut self, device: &str, at_us: u64) -> Option<&mut DeviceRow> {
        if !self.devices.contains_key(device) && self.devices.len() >= DEVICES_MAX {
            return None;
        }
        let start_us = staggered(at_us, self.devices.len());
        Some(
            self.devices
                .entry(device.to_owned())
                .or_insert_with(|| DeviceRow {
                    start_us,
                    end_us: None,
                    outcome: DeviceOutcome::Waiting,
                    admit: None,
                    bytes: 0,
                    rejections: Vec::new(),
                    spans: None,
                    version: String::new(),
                }),
        )
    }

    fn decide(&mut self, device: &str, at_us: u64, outcome: DeviceOutcome) {
        if let Some(row) = self.row(device, at_us)
            && row.outcome == DeviceOutcome::Waiting
        {
            row.outcome = outcome;
            row.end_us = Some(at_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> RegionTrace {
        let context = RoundContext::new("air", 3, 0);
        RegionTrace::new(
            &context,
            "north",
            "fog-north",
            Totals {
                devices: 4,
                regions: 1,
            },
            1_000,
        )
    }

    #[test]
    fn an_accepted_device_stays_accepted() {
        let mut trace = trace();
        trace.rejected("a", 2_000, 2_100, "bad_digest");
        trace.accepted("a", 3_000, 3_100, 10);
        trace.rejected("a", 4_000, 4_100, "duplicate");
        trace.dropped("a", 5_000, "presence", None);
        let summary = trace.summary();
        assert_eq!(
            (
                summary.accepted,
                summary.rejected,
                summary.dropped,
                summary.incidents
            ),
            (1, 0, 0, 0)
        );
        assert_eq!(trace.devices["a"].end_us, Some(3_100));
        assert_eq!(trace.devices["a"].rejections.len(), 1);
    }

    #[test]
    fn closing_drops_whoever_is_silent() {
        let mut trace = trace();
        trace.selected("a", 1_000);
        trace.selected("b", 1_000);
        trace.absent("c", 1_000, "offline");
        trace.declined("d", 1_500, "battery_low");
        trace.accepted("b", 2_000, 2_100, 10);
        trace.closed(9_000, 9_100, "deadline");
        let summary = trace.summary();
        assert_eq!(
            (
                summary.selected,
                summary.accepted,
                summary.dropped,
                summary.declined
            ),
            (4, 1, 2, 1)
        );
        assert_eq!(summary.incidents, 1);
        assert_eq!(summary.slowest_device.as_deref(), Some("a"));
    }

    #[test]
    fn a_device_that_comes_back_is_waited_for() {
        let mut trace = trace();
        trace.selected("a", 1_000);
        trace.dropped("a", 2_000, "presence", Some(DevicePhase::Train));
        trace.returned("a");
        trace.accepted("a", 4_000, 4_100, 10);
        assert_eq!(trace.summary().accepted, 1);
        assert_eq!(trace.devices["a"].start_us, 1_004);
    }
}
