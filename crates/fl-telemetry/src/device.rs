//! What a device measures of its own part in a round, and how its fog puts that on its own clock.
//!
//! A device times its phases monotonically and stamps the batch with its wall clock when it sends it. Only distances
//! to that stamp travel, so a clock in 1970 does no harm: the fog adds them to the time of arrival.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::attr::{self, AttrInput, AttrValue, Key, event};
use crate::clock::{Interval, shift_into, signed, wall_us};

/// Most phases in a batch; more are ignored, and the recorder forgets the oldest.
pub const PHASES_MAX: usize = 8;
/// Most attributes of a phase; more are ignored.
pub const PHASE_ATTRIBUTES_MAX: usize = 12;
/// Most events of a phase; more are ignored.
pub const PHASE_EVENTS_MAX: usize = 8;

/// The attributes that a fog takes over from a device; all others are foreign and dropped.
const DEVICE_ATTRIBUTES: [&str; 10] = [
    attr::BYTES.name(),
    attr::CHUNKS.name(),
    attr::RESENDS.name(),
    attr::EXAMPLES.name(),
    attr::EPOCHS.name(),
    attr::LOSS.name(),
    attr::NORM.name(),
    attr::NORM_LIMIT.name(),
    attr::SLOW_REASON.name(),
    attr::CLOCK_OFFSET.name(),
];
/// The events that a fog takes over from a device.
const DEVICE_EVENTS: [&str; 4] = [
    event::THROTTLED,
    event::RETRY,
    event::RESUMED,
    event::RECEIPT,
];

/// A phase of a device's part in a round; the phases follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DevicePhase {
    /// Plan seen → model complete.
    Download,
    /// The statistics round's pass over the data.
    Statistics,
    /// Local epochs.
    Train,
    /// The evaluation phase's pass over the test rows.
    Evaluate,
    /// Clip, encode, sign, store.
    Protect,
    /// First byte sent → receipt.
    Upload,
}

impl DevicePhase {
    /// The span's name, and part of its unit's.
    pub fn as_str(self) -> &'static str {
        match self {
            DevicePhase::Download => "download",
            DevicePhase::Statistics => "statistics",
            DevicePhase::Train => "train",
            DevicePhase::Evaluate => "evaluate",
            DevicePhase::Protect => "protect",
            DevicePhase::Upload => "upload",
        }
    }

    /// The phase of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Download,
            Self::Statistics,
            Self::Train,
            Self::Evaluate,
            Self::Protect,
            Self::Upload,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == name)
    }
}

/// One phase as it travels. Times are distances to the batch's stamp [µs], negative: before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// Which phase.
    pub phase: DevicePhase,
    /// Start, relative to the stamp [µs].
    pub start_us: i64,
    /// End, relative to the stamp [µs].
    pub end_us: i64,
    /// Attributes by OTLP name.
    pub attributes: Vec<(String, AttrValue)>,
    /// Events: name, and time relative to the stamp [µs].
    pub events: Vec<(String, i64)>,
}

/// A device's phases of one round, as they travel to its fog; at most [`PHASES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceSpans {
    /// The device's wall clock when it sent the batch [µs since 1970]; shows its skew, decides nothing.
    pub stamped_us: u64,
    /// The phases.
    pub phases: Vec<PhaseSpan>,
}

/// Records the phases of one round on a device. Held in memory only: an agent that was killed reports the phases
/// since its restart.
#[derive(Debug)]
pub struct DeviceTrace {
    origin: Instant,
    finished: VecDeque<PhaseSpan>,
    running: Option<PhaseSpan>,
}

impl Default for DeviceTrace {
    fn default() -> Self {
        Self::new()
    }
}

impl DeviceTrace {
    /// Starts with no phase.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            finished: VecDeque::new(),
            running: None,
        }
    }

    /// Ends the running phase, if any, and starts the next.
    pub fn begin(&mut self, phase: DevicePhase) {
        self.end();
        let now = self.elapsed_us();
        self.running = Some(PhaseSpan {
            phase,
            start_us: now,
            end_us: now,
            attributes: Vec::new(),
            events: Vec::new(),
        });
    }

    /// Adds an attribute to the running phase; without one, or beyond the cap, it is left out.
    pub fn attr<T, V: AttrInput<T>>(&mut self, key: Key<T>, value: V) {
        if let Some(running) = &mut self.running
            && running.attributes.len() < PHASE_ATTRIBUTES_MAX
        {
            running
                .attributes
                .push((key.name().to_owned(), value.into_attr()));
        }
    }

    /// Adds an event to the running phase, now; without one, or beyond the cap, it is left out.
    pub fn event(&mut self, name: &str) {
        let now = self.elapsed_us();
        if let Some(running) = &mut self.running
            && running.events.len() < PHASE_EVENTS_MAX
        {
            running.events.push((name.to_owned(), now));
        }
    }

    /// Ends the running phase.
    pub fn end(&mut self) {
        let now = self.elapsed_us();
        if let Some(mut phase) = self.running.take() {
            phase.end_us = now;
            if self.finished.len() == PHASES_MAX {
                self.finished.pop_front();
            }
            self.finished.push_back(phase);
        }
    }

    /// How long a finished phase took, the latest of its name [s].
    pub fn seconds(&self, phase: DevicePhase) -> Option<f64> {
        let found = self
            .finished
            .iter()
            .rev()
            .find(|finished| finished.phase == phase)?;
        Some((found.end_us - found.start_us) as f64 / 1e6)
    }

    /// The finished phases, stamped now: call it when the batch is about to be sent, and again for each resend.
    pub fn stamp(&self) -> DeviceSpans {
        let now = self.elapsed_us();
        let phases = self.finished.iter().cloned().map(|mut phase| {
            phase.start_us -= now;
            phase.end_us -= now;
            phase.events.iter_mut().for_each(|(_, at_us)| *at_us -= now);
            phase
        });
        DeviceSpans {
            stamped_us: wall_us(),
            phases: phases.collect(),
        }
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// A device's phase on its fog's clock, inside the device's span.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedPhase {
    /// Which phase.
    pub phase: DevicePhase,
    /// When.
    pub time: Interval,
    /// Attributes that a device may set.
    pub attributes: Vec<(&'static str, AttrValue)>,
    /// Events that a device may send: name and time [µs since 1970].
    pub events: Vec<(&'static str, u64)>,
}

/// Puts a device's batch on the fog's clock: shifts it rigidly by (received − stamped), then by the least that brings
/// it inside the device's span, and clamps what is still outside. Unknown attributes and events, second phases of one
/// name and whatever is beyond the caps are dropped. Any input is taken: it comes from a device.
pub fn fit_device_spans(
    spans: &DeviceSpans,
    received_us: u64,
    device_span: &Interval,
) -> Vec<FittedPhase> {
    // The stamp is the origin of the batch's times, so the shift by (received − stamped) puts that origin at `received`.
    let received = signed(received_us);
    let at = |relative: i64, shift: i64| received.saturating_add(relative).saturating_add(shift);
    let phases = &spans.phases[..spans.phases.len().min(PHASES_MAX)];
    let first = phases
        .iter()
        .map(|phase| at(phase.start_us, 0))
        .min()
        .unwrap_or_default();
    let last = phases
        .iter()
        .map(|phase| at(phase.end_us, 0))
        .max()
        .unwrap_or_default();
    let shift = shift_into(first, last, device_span);
    let absolute = |relative: i64| u64::try_from(at(relative, shift)).unwrap_or(0);

    let mut fitted: Vec<FittedPhase> = Vec::with_capacity(phases.len());
    for phase in phases {
        if fitted.iter().any(|known| known.phase == phase.phase) {
            continue;
        }
        let attributes = phase
            .attributes
            .iter()
            .take(PHASE_ATTRIBUTES_MAX)
            .filter_map(|(name, value)| {
                let known = DEVICE_ATTRIBUTES.into_iter().find(|known| known == name)?;
                Some((known, value.clone()))
            });
        let events = phase
            .events
            .iter()
            .take(PHASE_EVENTS_MAX)
            .filter_map(|(name, at_us)| {
                let known = DEVICE_EVENTS.into_iter().find(|known| known == name)?;
                Some((known, absolute(*at_us)))
            });
        fitted.push(FittedPhase {
            phase: phase.phase,
            time: Interval::new(absolute(phase.start_us), absolute(phase.end_us))
                .within(device_span),
            attributes: attributes.collect(),
            events: events.collect(),
        });
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(phase: DevicePhase, start_us: i64, end_us: i64) -> PhaseSpan {
        PhaseSpan {
            phase,
            start_us,
            end_us,
            attributes: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_clock_in_1970_or_ahead_changes_nothing() {
        let window = Interval::new(1_000_000, 9_000_000);
        let batch = |stamped_us| DeviceSpans {
            stamped_us,
            phases: vec![
                phase(DevicePhase::Train, -5_000_000, -1_000_000),
                phase(DevicePhase::Upload, -900_000, 0),
            ],
        };
        let fitted = fit_device_spans(&batch(0), 8_000_000, &window);
        assert_eq!(
            fitted,
            fit_device_spans(&batch(u64::MAX), 8_000_000, &window)
        );
        assert_eq!(
            (fitted[0].time.start_us(), fitted[0].time.end_us()),
            (3_000_000, 6_999_998)
        );
        assert_eq!(
            (fitted[1].time.start_us(), fitted[1].time.end_us()),
            (7_100_000, 7_999_998)
        );
    }

    #[test]
    fn a_batch_that_came_late_moves_as_a_whole() {
        let window = Interval::new(1_000_000, 6_000_002);
        let spans = DeviceSpans {
            stamped_us: 0,
            phases: vec![
                phase(DevicePhase::Train, -4_000_000, -1_000_000),
                phase(DevicePhase::Upload, -999_000, 0),
            ],
        };
        // It arrives 3 s after the device's span ended (the device was cut off), yet keeps its inner distances.
        let fitted = fit_device_spans(&spans, 9_000_002, &window);
        assert_eq!(fitted[1].time.end_us(), window.end_us());
        assert_eq!(fitted[0].time.start_us(), 2_000_004);
        assert!(fitted.iter().all(|phase| window.contains(&phase.time)));
    }

    #[test]
    fn any_input_ends_up_inside() {
        let window = Interval::new(1_000_000, 2_000_000);
        for (start, end) in [
            (i64::MIN, i64::MAX),
            (i64::MAX, i64::MIN),
            (0, 0),
            (i64::MAX, i64::MAX),
            (-1, 1 << 50),
        ] {
            for received in [0, 1_500_000, u64::MAX] {
                let mut foreign = phase(DevicePhase::Train, start, end);
                foreign.attributes = vec![
                    ("fl.loss".into(), AttrValue::Real(0.5)),
                    ("fl.job".into(), AttrValue::Text("forged".into())),
                ];
                foreign.events = vec![("receipt".into(), end), ("elected".into(), 0)];
                let spans = DeviceSpans {
                    stamped_us: 0,
                    phases: vec![foreign; 20],
                };
                let fitted = fit_device_spans(&spans, received, &window);
                assert_eq!(fitted.len(), 1);
                assert!(
                    window.contains(&fitted[0].time),
                    "{start}..{end} at {received}: {:?}",
                    fitted[0].time
                );
                assert_eq!(fitted[0].attributes, [("fl.loss", AttrValue::Real(0.5))]);
                assert_eq!(
                    fitted[0]
                        .events
                        .iter()
                        .map(|(name, _)| *name)
                        .collect::<Vec<_>>(),
                    ["receipt"]
                );
            }
        }
    }

    #[test]
    fn the_recorder_keeps_order_and_bounds() {
        let mut trace = DeviceTrace::new();
        trace.attr(attr::BYTES, 1u32);
        for _ in 0..PHASES_MAX {
            trace.begin(DevicePhase::Download);
        }
        trace.begin(DevicePhase::Train);
        trace.attr(attr::EXAMPLES, 1440u32);
        trace.event(event::THROTTLED);
        trace.begin(DevicePhase::Upload);
        trace.end();
        let batch = trace.stamp();
        assert_eq!(batch.phases.len(), PHASES_MAX);
        let train = batch
            .phases
            .iter()
            .find(|phase| phase.phase == DevicePhase::Train)
            .expect("train was recorded");
        assert_eq!(
            train.attributes,
            [("fl.examples".to_owned(), AttrValue::Int(1440))]
        );
        assert_eq!(train.events[0].0, "throttled");
        assert!(
            batch
                .phases
                .windows(2)
                .all(|pair| pair[0].end_us <= pair[1].start_us)
        );
        assert!(
            batch
                .phases
                .iter()
                .all(|phase| phase.start_us <= phase.end_us && phase.end_us <= 0)
        );
        assert!(
            trace.seconds(DevicePhase::Train).is_some()
                && trace.seconds(DevicePhase::Protect).is_none()
        );
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(
            DevicePhase::parse(DevicePhase::Upload.as_str()),
            Some(DevicePhase::Upload)
        );
        assert_eq!(DevicePhase::parse("round"), None);
    }
}
