//! The device's spans of the phases in progress, and their way to the fog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fl_model::{Phase, RoundKey};
use fl_telemetry::attr::AttrValue;
use fl_telemetry::{DevicePhase, DeviceTrace, attr};
use fl_wire::{AttributeValue, SpanBatch, SpanEvent, WireSpan};

use super::worker::{SharedTrace, lock};

/// Phases whose spans are kept at the same time; the oldest is given up.
const TRACES_MAX: usize = 8;

/// What is measured of the phases in progress.
#[derive(Default)]
pub(crate) struct Traces {
    of: BTreeMap<RoundKey, Measured>,
    clock_offset_ms: Option<i64>,
}

struct Measured {
    trace: SharedTrace,
    sends: u32,
}

impl Traces {
    /// The fog has told its time: its clock is that far ahead of this device's.
    pub(crate) fn clock_offset(&mut self, ms: i64) {
        self.clock_offset_ms = Some(ms);
    }

    /// Begins to measure; none for a phase whose spans nobody shows.
    pub(crate) fn begin(&mut self, key: &RoundKey) -> Option<SharedTrace> {
        if key.phase == Phase::Evaluate {
            return None;
        }
        while self.of.len() >= TRACES_MAX && !self.of.contains_key(key) {
            self.of.pop_first();
        }
        let measured = self.of.entry(key.clone()).or_insert_with(|| Measured {
            trace: Arc::new(Mutex::new(DeviceTrace::new())),
            sends: 0,
        });
        Some(measured.trace.clone())
    }

    /// What is measured of a phase.
    pub(crate) fn get(&self, key: &RoundKey) -> Option<SharedTrace> {
        self.of.get(key).map(|measured| measured.trace.clone())
    }

    /// The contribution goes out, for the first time or again.
    pub(crate) fn sending(&mut self, key: &RoundKey, bytes: usize, chunks: usize) {
        if self.begin(key).is_none() {
            return;
        }
        let Some(measured) = self.of.get_mut(key) else {
            return;
        };
        let mut trace = lock(&measured.trace);
        match measured.sends {
            0 => {
                trace.begin(DevicePhase::Upload);
                trace.attr(attr::BYTES, bytes);
                trace.attr(attr::CHUNKS, chunks);
                if let Some(ms) = self.clock_offset_ms {
                    trace.attr(attr::CLOCK_OFFSET, ms);
                }
            }
            _ => trace.event(attr::event::RETRY),
        }
        measured.sends = measured.sends.saturating_add(1);
    }

    /// The contribution was answered: the phase's spans, to be sent now.
    pub(crate) fn answered(&mut self, key: &RoundKey) -> Option<SpanBatch> {
        let Measured { trace, sends } = self.of.remove(key)?;
        let mut trace = lock(&trace);
        trace.event(attr::event::RECEIPT);
        trace.attr(attr::RESENDS, sends.saturating_sub(1));
        trace.end();
        batch(key, &trace)
    }

    /// Nothing more comes of a phase.
    pub(crate) fn drop(&mut self, key: &RoundKey) {
        self.of.remove(key);
    }
}

/// Phases as they travel: on the device's own clock, which the fog shifts.
fn batch(key: &RoundKey, trace: &DeviceTrace) -> Option<SpanBatch> {
    let spans = trace.stamp();
    let stamped_us = i64::try_from(spans.stamped_us).ok()?;
    let at = |relative_us: i64| stamped_us.saturating_add(relative_us);
    let spans = spans.phases.into_iter().map(|phase| WireSpan {
        name: phase.phase.as_str().to_owned(),
        start_us: at(phase.start_us),
        end_us: at(phase.end_us).max(at(phase.start_us)),
        attributes: phase
            .attributes
            .into_iter()
            .map(|(key, value)| (key, attribute(value)))
            .collect(),
        error: None,
        events: phase
            .events
            .into_iter()
            .map(|(name, at_us)| SpanEvent {
                name,
                at_us: at(at_us),
                attributes: Vec::new(),
            })
            .collect(),
    });
    let spans: Vec<_> = spans.collect();
    (!spans.is_empty()).then(|| SpanBatch {
        key: key.clone(),
        stamped_us,
        spans,
    })
}

fn attribute(value: AttrValue) -> AttributeValue {
    match value {
        AttrValue::Flag(flag) => AttributeValue::Bool(flag),
        AttrValue::Int(number) => AttributeValue::I64(number),
        AttrValue::Real(number) => AttributeValue::F64(number),
        AttrValue::Text(text) => AttributeValue::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use fl_model::{JobId, RoundNumber};

    use super::*;

    fn key(round: u32, phase: Phase) -> RoundKey {
        RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(round),
            phase,
        }
    }

    #[test]
    fn a_phase_is_measured_from_its_plan_to_its_receipt() {
        let mut traces = Traces::default();
        let train = key(1, Phase::Train);
        traces.clock_offset(-3_600_000);
        let trace = traces.begin(&train).unwrap();
        lock(&trace).begin(DevicePhase::Download);
        lock(&trace).begin(DevicePhase::Train);
        lock(&trace).attr(attr::EXAMPLES, 1440u32);
        lock(&trace).begin(DevicePhase::Protect);
        traces.sending(&train, 5_200, 1);
        traces.sending(&train, 5_200, 1);
        let batch = traces.answered(&train).unwrap();
        let names: Vec<&str> = batch.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["download", "train", "protect", "upload"]);
        let upload = &batch.spans[3];
        let events: Vec<&str> = upload
            .events
            .iter()
            .map(|event| event.name.as_str())
            .collect();
        assert_eq!(events, ["retry", "receipt"]);
        let has = |name: &str, value: AttributeValue| {
            assert!(
                upload.attributes.contains(&(name.to_owned(), value)),
                "{upload:?}"
            );
        };
        has("fl.bytes", AttributeValue::I64(5_200));
        has("fl.resends", AttributeValue::I64(1));
        has("clock.offset_ms", AttributeValue::I64(-3_600_000));
        assert!(
            batch
                .spans
                .iter()
                .all(|span| span.end_us <= batch.stamped_us)
        );
        assert_eq!(traces.answered(&train), None);
    }

    #[test]
    fn evaluations_are_not_measured_and_the_rest_is_bounded() {
        let mut traces = Traces::default();
        assert!(traces.begin(&key(1, Phase::Evaluate)).is_none());
        for round in 0..50 {
            traces.sending(&key(round, Phase::Train), 1, 1);
        }
        assert_eq!(traces.of.len(), TRACES_MAX);
        assert!(traces.get(&key(49, Phase::Train)).is_some());
    }
}
