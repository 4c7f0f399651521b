//! From a region's facts to spans: the fog's own, one per traced device, and the devices' phases under their own
//! resource.

use std::collections::BTreeSet;

use crate::attr::{self, event};
use crate::clock::{Interval, shift_into, signed};
use crate::device::{DevicePhase, FittedPhase};
use crate::ids::{RoundContext, Unit};
use crate::region::{DeviceOutcome, DeviceRow, RegionSummary, RegionTrace, Restart, Transfer};
use crate::resource::{Identity, Resource, Service, SpanBatch};
use crate::sampling::{is_drawn, notable_per_region};
use crate::span::{Kind, RoundSpan, SpanEvent};

/// What publishing takes at least, for a row to be seen [µs].
const PUBLISH_SENT_US: u64 = 8;

/// Topic and subject templates, for the messaging attributes.
mod destination {
    pub(super) const OBJECT: &str = "fl/1/{region}/bcast/object/{digest}";
    pub(super) const PLAN: &str = "fl/1/{region}/bcast/plan/{job}";
    pub(super) const CONTRIBUTION: &str = "fl/1/{region}/d/{device}/up/contribution";
    pub(super) const PARTIAL: &str = "fl.partial.{job}.{round}.{phase}.{region}.{shard}";
}

impl RegionTrace {
    /// All spans that this fog owns or forwards, as one batch of its own and one per device that sent spans.
    ///
    /// `fog` is this process; its devices get resources made from the roster's word, in the fog's environment.
    /// `window` is the region's time on the root's clock (plan sent → partial accepted or deadline), as the settled
    /// notice tells it; a region that the root gave up needs it. The batch is moved rigidly by the least that brings
    /// it inside, then clamped. Without a window the fog's own clock is believed, which holds as long as it agrees
    /// with the root's, and `publish partial` ends where it starts, because the root may have taken the partial sum
    /// before its acknowledgement is back.
    pub fn spans(&self, fog: &Identity, window: Option<Interval>) -> Vec<SpanBatch> {
        let placed = Placed::new(self, window);
        let mut spans = self.own_spans(&placed);
        let mut batches = Vec::new();
        let durations = self.accepted_durations();
        let slow_from_us = self.slow_from_us(&durations);
        for device in self.traced() {
            let row = &self.devices[device];
            let phases = self.phases(row);
            let slow = Slow::of(self, row, &phases, slow_from_us);
            spans.push(self.device_span(&placed, device, row, slow.as_ref()));
            spans.extend(self.admit_span(&placed, device, row));
            if !phases.is_empty() {
                let resource = device_resource(fog, &self.region, device, &row.version);
                let device_time = placed.at(self.device_time(row));
                let spans = phases
                    .iter()
                    .map(|phase| self.phase_span(&placed, device, &device_time, phase))
                    .collect();
                batches.push(SpanBatch { resource, spans });
            }
        }
        batches.insert(
            0,
            SpanBatch {
                resource: Resource::new(fog),
                spans,
            },
        );
        batches
    }

    /// The devices that have a span: all in a small round, else the drawn ones and a bounded number that were bad or
    /// slow.
    pub(crate) fn traced(&self) -> BTreeSet<&str> {
        let drawn = |device: &str| is_drawn(&self.context.trace, device, self.totals);
        let mut traced: BTreeSet<&str> = self
            .devices
            .keys()
            .map(String::as_str)
            .filter(|device| drawn(device))
            .collect();
        if traced.len() < self.devices.len() {
            let slow_from_us = self.slow_from_us(&self.accepted_durations());
            let notable = self.devices.iter().filter(|(device, row)| {
                let slow =
                    slow_from_us.is_some_and(|limit| self.device_time(row).duration_us() >= limit);
                !drawn(device) && (row.outcome.is_incident() || slow)
            });
            traced.extend(
                notable
                    .map(|(device, _)| device.as_str())
                    .take(notable_per_region(self.totals)),
            );
        }
        traced
    }

    fn own_spans(&self, placed: &Placed<'_>) -> Vec<RoundSpan> {
        let region = self.region.as_str();
        let mut spans = Vec::new();
        if let Some(fetch) = &self.fetch {
            let span = placed.span(
                Unit::FetchModel(region),
                "fetch model",
                Kind::Client,
                fetch.interval(),
            );
            spans.push(transfer_attributes(span, fetch).with(attr::MESSAGING_SYSTEM, "nats"));
        }
        if let Some(broadcast) = &self.broadcast {
            let span = placed.span(
                Unit::Broadcast(region),
                "broadcast",
                Kind::Producer,
                broadcast.interval(),
            );
            let span = transfer_attributes(span, broadcast).messaging(
                "mqtt",
                "publish",
                "send",
                destination::PLAN,
            );
            spans.push(span.with(attr::DEVICES_SELECTED, self.devices.len()));
        }
        spans.extend(
            self.restarts
                .iter()
                .zip(0..)
                .map(|(restart, n)| self.recover_span(placed, n, restart)),
        );
        if let Some((start_us, end_us)) = self.close {
            let span = placed.span(
                Unit::Close(region),
                "close",
                Kind::Internal,
                Interval::new(start_us, end_us),
            );
            spans.push(self.finish_close(span));
        }
        if let Some(publish) = &self.publish {
            let span = placed.span(
                Unit::PublishPartial(region),
                "publish partial",
                Kind::Producer,
                publish.interval(),
            );
            let span = transfer_attributes(span, publish).messaging(
                "nats",
                "publish",
                "send",
                destination::PARTIAL,
            );
            spans.push(span);
        }
        spans
    }

    /// What the region came to, and links to the devices in the sum.
    fn finish_close(&self, span: RoundSpan) -> RoundSpan {
        let mut span = summary_attributes(span, &self.summary());
        for device in self.traced() {
            if self.devices[device].outcome == DeviceOutcome::Accepted {
                span = span.link(&self.context, Unit::Device(device));
            }
        }
        for (at_us, reason) in &self.strangers {
            span = span.event(SpanEvent::new(*at_us, event::REJECTED).with(attr::REASON, reason));
        }
        span
    }

    fn recover_span(&self, placed: &Placed<'_>, n: u32, restart: &Restart) -> RoundSpan {
        let time = Interval::new(restart.last_snapshot_us, restart.listening_us);
        let message = format!("the fog {} was away and came back", self.fog);
        placed
            .span(
                Unit::Recover(&self.region, n),
                "recover",
                Kind::Internal,
                time,
            )
            .with(attr::RECOVERED, restart.recovered)
            .with(attr::LOST, restart.lost)
            .with(attr::LEADER, &self.fog)
            .event(placed.event(restart.loaded_us, event::SNAPSHOT_LOADED))
            .event(placed.event(restart.listening_us, event::LISTENING))
            .failed("fog_restart", &message)
    }

    fn device_span(
        &self,
        placed: &Placed<'_>,
        device: &str,
        row: &DeviceRow,
        slow: Option<&Slow>,
    ) -> RoundSpan {
        let time = self.device_time(row);
        let mut span = placed
            .span(
                Unit::Device(device),
                &format!("device {device}"),
                Kind::Internal,
                time,
            )
            .below(&self.context, Unit::Region(&self.region))
            .with(attr::DEVICE, device)
            .with(attr::OUTCOME, row.outcome.as_str())
            .with_some(attr::REASON, row.outcome.reason());
        if row.bytes > 0 {
            span = span.with(attr::BYTES, row.bytes);
        }
        if let Some(slow) = slow {
            span = span
                .with(attr::SLOW, true)
                .with_some(attr::SLOW_PHASE, slow.phase.map(DevicePhase::as_str))
                .with_some(attr::SLOW_REASON, slow.reason.as_deref())
                .event(placed.event(slow.since_us, event::STRAGGLER));
        }
        for (at_us, reason) in &row.rejections {
            span = span.event(
                placed
                    .event(*at_us, event::REJECTED)
                    .with(attr::REASON, reason),
            );
        }
        match &row.outcome {
            DeviceOutcome::Rejected(reason) => span.failed(reason, "the contribution was rejected"),
            DeviceOutcome::Dropped { reason, phase } => span
                .with_some(attr::PHASE, phase.map(DevicePhase::as_str))
                .event(
                    placed
                        .event(time.end_us(), event::DROPPED)
                        .with(attr::REASON, reason),
                )
                .failed(reason, "the device fell silent"),
            DeviceOutcome::Declined(reason) => span.event(
                placed
                    .event(time.end_us(), event::DECLINED)
                    .with(attr::REASON, reason),
            ),
            DeviceOutcome::Absent(reason) => span.event(
                placed
                    .event(time.end_us(), event::DROPPED)
                    .with(attr::REASON, reason),
            ),
            DeviceOutcome::Accepted | DeviceOutcome::Waiting => span,
        }
    }

    fn admit_span(&self, placed: &Placed<'_>, device: &str, row: &DeviceRow) -> Option<RoundSpan> {
        let (received_us, done_us) = row.admit?;
        let time = Interval::new(received_us, done_us).within(&self.device_time(row));
        let span = placed
            .span(Unit::Admit(device), "admit", Kind::Consumer, time)
            .with(attr::DEVICE, device)
            .with(attr::OUTCOME, row.outcome.as_str())
            .with_some(attr::REASON, row.outcome.reason())
            .messaging("mqtt", "process", "process", destination::CONTRIBUTION);
        Some(if row.bytes > 0 {
            span.with(attr::BYTES, row.bytes)
        } else {
            span
        })
    }

    fn phase_span(
        &self,
        placed: &Placed<'_>,
        device: &str,
        device_time: &Interval,
        phase: &FittedPhase,
    ) -> RoundSpan {
        let unit = Unit::Phase(device, phase.phase);
        let kind = match phase.phase {
            DevicePhase::Download => Kind::Consumer,
            DevicePhase::Upload => Kind::Producer,
            _ => Kind::Internal,
        };
        let time = placed.at(phase.time).within(device_time);
        let mut span = RoundSpan::new(&self.context, unit, phase.phase.as_str(), kind, time)
            .with(attr::REGION, &self.region)
            .with(attr::DEVICE, device);
        span = match phase.phase {
            DevicePhase::Download => {
                span.messaging("mqtt", "receive", "receive", destination::OBJECT)
            }
            DevicePhase::Upload => {
                span.messaging("mqtt", "publish", "send", destination::CONTRIBUTION)
            }
            _ => span,
        };
        for (name, value) in &phase.attributes {
            span.set(name, value.clone());
        }
        phase.events.iter().fold(span, |span, (name, at_us)| {
            span.event(placed.event(*at_us, name))
        })
    }
}

/// Adds what a region came to.
pub(crate) fn summary_attributes(span: RoundSpan, summary: &RegionSummary) -> RoundSpan {
    let seconds = |us: u64| us as f64 / 1e6;
    span.with(attr::DEVICES_SELECTED, summary.selected)
        .with(attr::DEVICES_ACCEPTED, summary.accepted)
        .with(attr::DEVICES_REJECTED, summary.rejected)
        .with(attr::DEVICES_DROPPED, summary.dropped)
        .with(attr::DEVICES_DECLINED, summary.declined)
        .with(attr::DEVICES_TRACED, summary.traced)
        .with(attr::RESTARTS, summary.restarts)
        .with_some(attr::SLOWEST_DEVICE, summary.slowest_device.as_deref())
        .with_some(attr::SLOWEST_PHASE, summary.slowest_phase.as_deref())
        .with_some(attr::DURATION_P50, summary.duration_p50_us.map(seconds))
        .with_some(attr::DURATION_P90, summary.duration_p90_us.map(seconds))
}

/// Adds what was moved.
pub(crate) fn transfer_attributes(span: RoundSpan, transfer: &Transfer) -> RoundSpan {
    let span = span.with(attr::BYTES, transfer.bytes);
    let span = if transfer.chunks > 0 {
        span.with(attr::CHUNKS, transfer.chunks)
    } else {
        span
    };
    if transfer.resends > 0 {
        span.with(attr::RESENDS, transfer.resends)
    } else {
        span
    }
}

impl Transfer {
    /// The transfer's time.
    pub(crate) fn interval(&self) -> Interval {
        Interval::new(self.start_us, self.end_us)
    }
}

/// Moves a region's facts from the fog's clock into the region's window on the root's.
struct Placed<'a> {
    context: &'a RoundContext,
    region: &'a str,
    window: Interval,
    shift_us: i64,
}

impl<'a> Placed<'a> {
    fn new(trace: &'a RegionTrace, window: Option<Interval>) -> Self {
        let extent = trace.extent();
        let window = window.map_or(extent, |window| window.after_stagger());
        let shift_us = shift_into(signed(extent.start_us()), signed(extent.end_us()), &window);
        Self {
            context: &trace.context,
            region: &trace.region,
            window,
            shift_us,
        }
    }

    fn at(&self, time: Interval) -> Interval {
        Interval::new(self.at_us(time.start_us()), self.at_us(time.end_us())).within(&self.window)
    }

    fn at_us(&self, us: u64) -> u64 {
        us.saturating_add_signed(self.shift_us)
    }

    fn span(&self, unit: Unit<'_>, name: &str, kind: Kind, time: Interval) -> RoundSpan {
        RoundSpan::new(self.context, unit, name, kind, self.at(time))
            .with(attr::REGION, self.region)
    }

    fn event(&self, us: u64, name: &str) -> SpanEvent {
        SpanEvent::new(self.at_us(us), name)
    }
}

impl RegionTrace {
    /// From the plan's arrival to the handing over of the partial sum; the wait for its acknowledgement overlaps with
    /// what the root does, so it must not move anything. A restart's snapshot may be older than the round; what lies
    /// before the plan's arrival does not count.
    fn extent(&self) -> Interval {
        let transfers = [&self.fetch, &self.broadcast].into_iter().flatten();
        let ends = (transfers.map(|transfer| transfer.end_us))
            .chain(
                self.publish
                    .map(|publish| publish.start_us + PUBLISH_SENT_US),
            )
            .chain(self.close.map(|(_, end_us)| end_us))
            .chain(self.restarts.iter().map(|restart| restart.listening_us))
            .chain(
                self.devices
                    .values()
                    .map(|row| self.device_time(row).end_us()),
            );
        Interval::new(self.received_us, ends.max().unwrap_or(self.received_us))
    }
}

/// Why a device is a straggler.
struct Slow {
    phase: Option<DevicePhase>,
    reason: Option<String>,
    since_us: u64,
}

impl Slow {
    fn of(
        trace: &RegionTrace,
        row: &DeviceRow,
        phases: &[FittedPhase],
        slow_from_us: Option<u64>,
    ) -> Option<Self> {
        let limit = slow_from_us?;
        let time = trace.device_time(row);
        if row.outcome != DeviceOutcome::Accepted || time.duration_us() < limit {
            return None;
        }
        let phase = phases.iter().max_by_key(|phase| phase.time.duration_us());
        let told = phases
            .iter()
            .flat_map(|phase| &phase.attributes)
            .find_map(|(name, value)| match value {
                attr::AttrValue::Text(reason) if *name == attr::SLOW_REASON.name() => {
                    Some(reason.clone())
                }
                _ => None,
            });
        let throttled = phases
            .iter()
            .flat_map(|phase| &phase.events)
            .any(|(name, _)| *name == event::THROTTLED);
        Some(Self {
            phase: phase.map(|phase| phase.phase),
            reason: told.or_else(|| throttled.then(|| event::THROTTLED.to_owned())),
            since_us: time.start_us() + limit,
        })
    }
}

/// The resource of a device, in the roster's words; whatever the device says of itself does not enter.
fn device_resource(fog: &Identity, region: &str, device: &str, version: &str) -> Resource {
    Resource::new(&Identity {
        service: Service::EdgeAgent,
        instance: device.to_owned(),
        version: version.to_owned(),
        environment: fog.environment.clone(),
        host: String::new(),
        region: Some(region.to_owned()),
    })
}
