//! What the federation says about itself: one OpenTelemetry trace per round, metrics, and their way out by OTLP.
//!
//! A trace is made from facts, not from live span handles: a process collects what happened ([`RoundTrace`] in the
//! root, [`RegionTrace`] in a fog, [`DeviceTrace`] in an agent), and turns it into spans when the unit closes. Trace
//! and span ids are derived from the round and the unit ([`ids`]), so every process computes its own parents, and a
//! process that was killed can be spoken for by the one that closes its unit.
//!
//! Absences: no span names a parent that nobody emits; no device or span name is ever a metric label; nothing here
//! blocks or fails a round when the collector is away (spans are dropped and counted instead).

pub mod attr;
pub mod clock;
mod collector;
pub mod device;
pub mod export;
pub mod ids;
pub mod metrics;
mod otlp;
pub mod region;
mod region_spans;
mod region_summary;
pub mod resource;
pub mod round;
mod round_spans;
pub mod sampling;
mod settings;
mod sink;
pub mod span;

#[cfg(feature = "receiver")]
pub mod check;
#[cfg(feature = "receiver")]
pub mod jaeger;
#[cfg(feature = "receiver")]
pub mod receiver;

pub use clock::{Interval, wall_us};
pub use device::{DevicePhase, DeviceSpans, DeviceTrace, PhaseSpan};
pub use export::{Exporter, OtlpSettings, TelemetrySettings};
pub use ids::{RoundContext, SpanId, TraceId, TraceParent, Unit};
pub use metrics::Metrics;
pub use region::{RegionSummary, RegionTrace};
pub use resource::{Identity, Resource, Service, SpanBatch};
pub use round::{Failover, RoundOutcome, RoundTrace};
pub use span::{Kind, RoundSpan};
