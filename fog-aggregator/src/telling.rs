//! The trace of a round as this fog tells it: facts while it runs, spans when its partial is out.

use std::collections::BTreeSet;

use fl_model::{DeviceId, Phase, Reason, RoundKey, RoundPlan};
use fl_telemetry::attr::AttrValue;
use fl_telemetry::region::{Restart, Transfer};
use fl_telemetry::sampling::Totals;
use fl_telemetry::{
    DevicePhase, DeviceSpans, Exporter, Identity, Interval, PhaseSpan, RegionTrace, RoundContext,
    TraceId,
};
use fl_wire::{AttributeValue, SpanBatch, WireSpan};
use serde::{Deserialize, Serialize};

/// How long after the partial is out devices' own spans are waited for [ms].
const SPANS_WAIT_MS: u64 = 1_500;

/// How long after the partial is out the root's record is waited for, which says when the region's
/// part began and ended on the root's clock [ms].
const RECORD_WAIT_MS: u64 = 10_000;

/// How long a trace that was told stays on disk, in case its export is cut off [ms].
const TOLD_KEPT_MS: u64 = 3_000;

/// Rounds whose trace waits at once; the oldest is told early.
const WAITING_MAX: usize = 8;

/// A round's facts while they come in.
#[derive(Debug)]
pub struct Facts {
    /// What becomes spans.
    pub trace: RegionTrace,
    /// Devices in the sum whose own spans have not come.
    silent: BTreeSet<String>,
    /// When nothing more was taken, where that is so [µs since 1970].
    closing_us: Option<u64>,
    /// When devices were asked, or the plan came [µs since 1970].
    start_us: u64,
}

impl Facts {
    /// Nothing yet, of a plan that has just come; none for an evaluation, which has no spans here.
    pub fn of(
        plan: &RoundPlan,
        region: &str,
        fog: &str,
        devices: usize,
        received_us: u64,
    ) -> Option<Self> {
        if plan.key.phase == Phase::Evaluate {
            return None;
        }
        let context = RoundContext {
            job: plan.key.job.to_string(),
            round: plan.key.round.0,
            attempt: 0,
            trace: TraceId::from_bytes(&plan.trace.trace_id)?,
        };
        // Other regions' devices are not known here: sampling begins where a single region is large.
        let totals = Totals {
            devices: u32::try_from(devices).unwrap_or(u32::MAX),
            regions: 1,
        };
        let trace = RegionTrace::new(&context, region, fog, totals, received_us);
        Some(Self {
            start_us: received_us,
            ..Self::resumed(trace, None)
        })
    }

    /// As the disk has them; closed at that time [µs since 1970], where they are.
    pub fn resumed(trace: RegionTrace, closing_us: Option<u64>) -> Self {
        Self {
            trace,
            silent: BTreeSet::new(),
            closing_us,
            start_us: 0,
        }
    }

    /// Nothing more is taken from now on.
    pub fn closing(&mut self, now_us: u64) {
        self.closing_us = Some(now_us);
        self.trace.closed(now_us, now_us, Reason::Deadline.as_str());
    }

    /// The sum is complete and stored.
    pub fn closed(&mut self, now_us: u64) {
        let start_us = *self.closing_us.get_or_insert(now_us);
        self.trace
            .closed(start_us, now_us, Reason::Deadline.as_str());
    }

    /// The phase is over without this region's sum.
    pub fn give_up(&mut self, now_us: u64) {
        if self.closing_us.is_none() {
            self.closed(now_us);
        }
    }

    /// The device was there and fell silent, or lost its connection then.
    pub fn dropped(&mut self, device: &DeviceId, at_us: u64, reason: &str) {
        self.trace
            .dropped(device.as_str(), at_us.max(self.start_us), reason, None);
    }

    /// The device is in the durable sum, and has its receipt.
    pub fn accepted(&mut self, device: &DeviceId, received_us: u64, done_us: u64, bytes: u64) {
        self.trace
            .accepted(device.as_str(), received_us, done_us, bytes);
        self.silent.insert(device.to_string());
    }

    /// The device's own spans came.
    fn spans(&mut self, device: &DeviceId, batch: &SpanBatch, received_us: u64, version: &str) {
        let spans = device_spans(batch);
        if self
            .trace
            .device_spans(device.as_str(), spans, received_us, version)
        {
            self.silent.remove(device.as_str());
        }
    }
}

/// A round's trace as it lies on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptTrace {
    /// What becomes spans.
    pub trace: RegionTrace,
    /// How it was told, where it was: told again it has to be the same to the byte, or a collector
    /// shows it twice.
    pub told: Option<Told>,
}

/// What the spans of a trace depend on beside its facts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Told {
    /// The region's time on the root's clock, where its record had come.
    pub window: Option<Interval>,
}

struct Waiting {
    key: RoundKey,
    facts: Facts,
    /// From when on devices' spans are not waited for [ms].
    spans_due_ms: u64,
    /// From when on the root's record is not waited for [ms].
    record_due_ms: u64,
    /// Whether the root's record has come.
    settled: bool,
    /// The region's time on the root's clock, where the record tells it.
    window: Option<Interval>,
    /// When it was told [ms].
    told_ms: Option<u64>,
}

impl Waiting {
    fn is_due(&self, now_ms: u64) -> bool {
        let spans = self.facts.silent.is_empty() || now_ms >= self.spans_due_ms;
        spans && (self.settled || now_ms >= self.record_due_ms)
    }
}

/// Rounds whose partial is out.
pub struct Teller {
    exporter: Exporter,
    identity: Identity,
    waiting: Vec<Waiting>,
}

impl Teller {
    /// Tells through `exporter`, as `identity`.
    pub fn new(exporter: Exporter, identity: Identity) -> Self {
        Self {
            exporter,
            identity,
            waiting: Vec::new(),
        }
    }

    /// The round's facts are complete but for what devices still send.
    pub fn add(&mut self, key: RoundKey, facts: Facts, now_ms: u64) {
        self.waiting.retain(|waiting| waiting.key != key);
        if self.waiting.len() >= WAITING_MAX {
            let oldest = self.waiting.remove(0);
            if oldest.told_ms.is_none() {
                self.tell(&oldest);
            }
        }
        self.waiting.push(Waiting {
            key,
            facts,
            spans_due_ms: now_ms + SPANS_WAIT_MS,
            record_due_ms: now_ms + RECORD_WAIT_MS,
            settled: false,
            window: None,
            told_ms: None,
        });
    }

    /// Tells a round once more that was told just before this process started: its export may have
    /// been cut off.
    pub fn tell_again(&mut self, key: RoundKey, trace: RegionTrace, told: Told, now_ms: u64) {
        self.exporter.send(trace.spans(&self.identity, told.window));
        self.add(key, Facts::resumed(trace, None), now_ms);
        if let Some(waiting) = self.waiting.last_mut() {
            waiting.told_ms = Some(now_ms);
        }
    }

    /// What the next [`Self::tick`] tells, for the disk to have it before; at the latest time, what
    /// [`Self::flush`] tells.
    pub fn about_to_tell(&self, now_ms: u64) -> Vec<(RoundKey, KeptTrace)> {
        let due = |waiting: &&Waiting| waiting.told_ms.is_none() && waiting.is_due(now_ms);
        let kept = |waiting: &Waiting| {
            let kept = KeptTrace {
                trace: waiting.facts.trace.clone(),
                told: Some(Told {
                    window: waiting.window,
                }),
            };
            (waiting.key.clone(), kept)
        };
        self.waiting.iter().filter(due).map(kept).collect()
    }

    /// The root's record of the phase has come, with the region's time on the root's clock.
    pub fn settled(&mut self, key: &RoundKey, window: Option<Interval>) {
        if let Some(waiting) = self.waiting_mut(key) {
            waiting.settled = true;
            waiting.window = window;
        }
    }

    /// The partial was acknowledged after its phase was settled.
    pub fn published(&mut self, key: &RoundKey, transfer: Option<Transfer>) {
        if let (Some(waiting), Some(transfer)) = (self.waiting_mut(key), transfer) {
            waiting.facts.trace.published(transfer);
        }
    }

    fn waiting_mut(&mut self, key: &RoundKey) -> Option<&mut Waiting> {
        let untold = |waiting: &&mut Waiting| waiting.key == *key && waiting.told_ms.is_none();
        self.waiting.iter_mut().find(untold)
    }

    /// A device's spans came: into the open round's facts where they belong there, else into those
    /// that wait.
    pub fn spans(
        &mut self,
        open: Option<(&RoundKey, &mut Facts)>,
        device: &DeviceId,
        batch: &SpanBatch,
        received_us: u64,
        version: &str,
    ) {
        if let Some((key, facts)) = open
            && *key == batch.key
        {
            facts.spans(device, batch, received_us, version);
            return;
        }
        if let Some(waiting) = self.waiting_mut(&batch.key) {
            waiting.facts.spans(device, batch, received_us, version);
        }
    }

    /// Tells what is complete or due. Returns the rounds that the disk may forget.
    pub fn tick(&mut self, now_ms: u64) -> Vec<RoundKey> {
        let mut forgotten = Vec::new();
        for index in 0..self.waiting.len() {
            let waiting = &self.waiting[index];
            if waiting.told_ms.is_none() && waiting.is_due(now_ms) {
                self.tell(waiting);
                self.waiting[index].told_ms = Some(now_ms);
            }
        }
        self.waiting.retain(|waiting| {
            let over = waiting
                .told_ms
                .is_some_and(|told| now_ms >= told + TOLD_KEPT_MS);
            if over {
                forgotten.push(waiting.key.clone());
            }
            !over
        });
        forgotten
    }

    /// Tells everything that is not told: the process ends.
    pub fn flush(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.told_ms.is_none() {
                self.tell(&waiting);
            }
        }
    }

    fn tell(&self, waiting: &Waiting) {
        let spans = waiting.facts.trace.spans(&self.identity, waiting.window);
        self.exporter.send(spans);
    }
}

/// The plan's objects moved.
pub fn moved(start_us: u64, end_us: u64, bytes: u64) -> Transfer {
    Transfer {
        start_us,
        end_us,
        bytes,
        ..Transfer::default()
    }
}

/// A fog that came back with `recovered` contributions in its snapshot.
pub fn restart(last_snapshot_us: u64, loaded_us: u64, now_us: u64, recovered: usize) -> Restart {
    Restart {
        last_snapshot_us,
        loaded_us,
        listening_us: now_us,
        recovered: u32::try_from(recovered).unwrap_or(u32::MAX),
        // What is not in the snapshot has no receipt: its device sends it again.
        lost: 0,
    }
}

/// A batch as fl-telemetry fits it: times relative to the stamp.
fn device_spans(batch: &SpanBatch) -> DeviceSpans {
    let phases = batch
        .spans
        .iter()
        .filter_map(|span| phase(span, batch.stamped_us));
    DeviceSpans {
        stamped_us: u64::try_from(batch.stamped_us).unwrap_or_default(),
        phases: phases.collect(),
    }
}

fn phase(span: &WireSpan, stamped_us: i64) -> Option<PhaseSpan> {
    let relative = |at_us: i64| at_us.saturating_sub(stamped_us);
    let attributes = span
        .attributes
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), attribute(value)?)));
    let events = span
        .events
        .iter()
        .map(|event| (event.name.clone(), relative(event.at_us)));
    Some(PhaseSpan {
        phase: DevicePhase::parse(&span.name)?,
        start_us: relative(span.start_us),
        end_us: relative(span.end_us),
        attributes: attributes.collect(),
        events: events.collect(),
    })
}

/// None for a number that is none: the snapshot is partly JSON, which does not have it.
fn attribute(value: &AttributeValue) -> Option<AttrValue> {
    Some(match value {
        AttributeValue::I64(value) => AttrValue::Int(*value),
        AttributeValue::F64(value) => AttrValue::Real(Some(*value).filter(|v| v.is_finite())?),
        AttributeValue::Bool(value) => AttrValue::Flag(*value),
        AttributeValue::Text(value) => AttrValue::Text(value.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_trace_is_read_back_to_the_last_digit() {
        let context = RoundContext::new("air", 3, 0);
        let totals = Totals {
            devices: 1,
            regions: 1,
        };
        let mut trace = RegionTrace::new(&context, "north", "fog", totals, 1_000);
        // JSON reads this number back as another.
        let loss = (
            "fl.loss".to_owned(),
            AttrValue::Real(0.175_571_135_588_245_41),
        );
        let train = PhaseSpan {
            phase: DevicePhase::Train,
            start_us: -900,
            end_us: -100,
            attributes: [loss].into_iter().collect(),
            events: Vec::new(),
        };
        let spans = DeviceSpans {
            stamped_us: 5_000,
            phases: vec![train],
        };
        trace.accepted("a", 3_000, 3_100, 10);
        trace.device_spans("a", spans, 3_200, "0.1.0");
        let window = Some(Interval::new(900, 9_000));
        let kept = KeptTrace {
            trace,
            told: Some(Told { window }),
        };
        let bytes = serde_cbor::to_vec(&kept).unwrap();
        let read: KeptTrace = serde_cbor::from_slice(&bytes).unwrap();
        assert_eq!(read.trace, kept.trace);
        assert_eq!(read.told.unwrap().window, window);
    }

    #[test]
    fn a_number_that_is_none_does_not_spoil_the_snapshot() {
        let (key, restored) = crate::snapshot::tests::restored();
        let attributes = [f64::NAN, f64::INFINITY, 0.25].map(AttributeValue::F64);
        let names = ["fl.norm", "fl.norm.limit", "fl.loss"].map(str::to_owned);
        let batch = SpanBatch {
            key,
            stamped_us: 5_000,
            spans: vec![WireSpan {
                name: "train".to_owned(),
                start_us: 4_000,
                end_us: 4_500,
                attributes: names.into_iter().zip(attributes).collect(),
                error: None,
                events: Vec::new(),
            }],
        };
        let context = RoundContext::new("air", 1, 0);
        let totals = Totals {
            devices: 1,
            regions: 1,
        };
        let mut trace = RegionTrace::new(&context, "north", "fog", totals, 1_000);
        trace.accepted("a", 3_000, 3_100, 10);
        trace.device_spans("a", device_spans(&batch), 5_200, "0.1.0");
        let notes = crate::snapshot::Notes {
            trace: Some(trace),
            ..Default::default()
        };
        let file = crate::snapshot::encode(&restored, &notes).unwrap();
        assert_eq!(crate::snapshot::decode(&file).unwrap(), (restored, notes));
    }
}
