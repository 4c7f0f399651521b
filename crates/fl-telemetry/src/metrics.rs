//! Counters, gauges and histograms, named in one place; pushed by OTLP or read as Prometheus text.
//!
//! Labels are `&'static str` on purpose: no device, span or file name can become one, so the number of series is
//! bounded by the source code.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use prometheus::{Encoder, TextEncoder};

use crate::resource::{Identity, Resource};

/// The `Content-Type` of [`Metrics::prometheus_text`].
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Bounds of the buckets of durations [s]; from a dense model's step to a day.
const DURATION_BOUNDS_S: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
    86_400.0,
];

/// Instrument names. Prometheus shows dots as underscores and appends unit and `_total`.
mod name {
    pub(super) const CONTRIBUTIONS: &str = "fl.contributions";
    pub(super) const TRANSFER: &str = "fl.transfer";
    pub(super) const ROUNDS: &str = "fl.rounds";
    pub(super) const ROUND_DURATION: &str = "fl.round.duration";
    pub(super) const ROUND_CURRENT: &str = "fl.round.current";
    pub(super) const TRAIN_DURATION: &str = "fl.train.duration";
    pub(super) const ADMIT_DURATION: &str = "fl.admit.duration";
    pub(super) const SNAPSHOT_DURATION: &str = "fl.snapshot.duration";
    pub(super) const REFUSED: &str = "fl.messages.refused";
    pub(super) const DEVICES_CONNECTED: &str = "fl.devices.connected";
    pub(super) const OUTBOX_DEPTH: &str = "fl.outbox.depth";
    pub(super) const QUEUE_DEPTH: &str = "fl.queue.depth";
    pub(super) const CONNECTS: &str = "fl.connects";
    pub(super) const RESENDS: &str = "fl.resends";
    pub(super) const MODEL_ACCURACY: &str = "fl.model.accuracy";
    pub(super) const MODEL_LOSS: &str = "fl.model.loss";
    pub(super) const SPANS: &str = "fl.telemetry.spans";
}

/// Label names.
mod label {
    pub(super) const OUTCOME: &str = "outcome";
    pub(super) const REASON: &str = "reason";
    pub(super) const LINK: &str = "link";
    pub(super) const BUS: &str = "bus";
}

/// Why metrics cannot be set up or shown.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The SDK refused the reader.
    #[error("cannot set up metrics: {0}")]
    Setup(String),
    /// A family could not be written as text.
    #[error("cannot write metrics as text: {0}")]
    Render(#[from] prometheus::Error),
}

/// A stretch of the way between device and root, seen from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Device to fog.
    EdgeUp,
    /// Fog to root.
    FogUp,
    /// Fog to device.
    EdgeDown,
    /// Root to fog.
    FogDown,
}

impl Link {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Link::EdgeUp => "edge_up",
            Link::FogUp => "fog_up",
            Link::EdgeDown => "edge_down",
            Link::FogDown => "fog_down",
        }
    }
}

/// A message bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// Device to fog.
    Mqtt,
    /// Fog to root.
    Nats,
}

impl Bus {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Bus::Mqtt => "mqtt",
            Bus::Nats => "nats",
        }
    }
}

/// A process's metrics; clones share them. All calls are cheap and never fail.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    provider: SdkMeterProvider,
    registry: prometheus::Registry,
    reader: Arc<ManualReader>,
    meter: Meter,
    contributions: Counter<u64>,
    transfer: Counter<u64>,
    rounds: Counter<u64>,
    round_duration: Histogram<f64>,
    round_current: Gauge<u64>,
    train_duration: Histogram<f64>,
    admit_duration: Histogram<f64>,
    snapshot_duration: Histogram<f64>,
    refused: Counter<u64>,
    devices_connected: Gauge<u64>,
    outbox_depth: Gauge<u64>,
    queue_depth: Gauge<u64>,
    connects: Counter<u64>,
    resends: Counter<u64>,
    model_accuracy: Gauge<f64>,
    model_loss: Gauge<f64>,
}

impl Metrics {
    /// The metrics of this process.
    pub fn new(identity: &Identity) -> Result<Self, MetricsError> {
        let registry = prometheus::Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| MetricsError::Setup(error.to_string()))?;
        let reader = Arc::new(
            ManualReader::builder()
                .with_temporality(Temporality::Cumulative)
                .build(),
        );
        let provider = SdkMeterProvider::builder()
            .with_resource(sdk_resource(&Resource::new(identity)))
            .with_reader(prometheus)
            .with_reader(SharedReader(Arc::clone(&reader)))
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"));
        let meter = provider.meter_with_scope(scope.build());
        let counter = |name, what| meter.u64_counter(name).with_description(what).build();
        let gauge = |name, what| meter.u64_gauge(name).with_description(what).build();
        let level = |name, what| meter.f64_gauge(name).with_description(what).build();
        let seconds = |name, what| {
            let histogram = meter
                .f64_histogram(name)
                .with_description(what)
                .with_unit("s");
            histogram
                .with_boundaries(DURATION_BOUNDS_S.to_vec())
                .build()
        };
        let transfer = meter
            .u64_counter(name::TRANSFER)
            .with_description("bytes moved, by link")
            .with_unit("By");
        let inner = Inner {
            contributions: counter(
                name::CONTRIBUTIONS,
                "contributions, by what became of them and why",
            ),
            transfer: transfer.build(),
            rounds: counter(name::ROUNDS, "rounds that ended, by outcome"),
            round_duration: seconds(
                name::ROUND_DURATION,
                "time from opening a round to its record",
            ),
            round_current: gauge(name::ROUND_CURRENT, "number of the latest round"),
            train_duration: seconds(name::TRAIN_DURATION, "time of local training"),
            admit_duration: seconds(
                name::ADMIT_DURATION,
                "time from a contribution's arrival to its receipt",
            ),
            snapshot_duration: seconds(
                name::SNAPSHOT_DURATION,
                "time to make the sum so far durable",
            ),
            refused: counter(
                name::REFUSED,
                "messages other than contributions that were refused, by reason",
            ),
            devices_connected: gauge(name::DEVICES_CONNECTED, "devices that are there"),
            outbox_depth: gauge(
                name::OUTBOX_DEPTH,
                "contributions or partial sums that are not settled",
            ),
            queue_depth: gauge(name::QUEUE_DEPTH, "messages that wait to be handled"),
            connects: counter(
                name::CONNECTS,
                "times a bus was connected; all but the first were reconnects",
            ),
            resends: counter(name::RESENDS, "messages sent again, by bus"),
            model_accuracy: level(
                name::MODEL_ACCURACY,
                "accuracy of the latest model over all test rows",
            ),
            model_loss: level(
                name::MODEL_LOSS,
                "mean loss of the latest model over all test rows",
            ),
            provider,
            registry,
            reader,
            meter,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A contribution was `accepted`, `rejected`, `duplicate`, `declined`, `counted` or `excluded`; `reason` is the
    /// protocol's word, empty where there is none.
    pub fn contribution(&self, outcome: &'static str, reason: &'static str) {
        self.inner.contributions.add(
            1,
            &[
                KeyValue::new(label::OUTCOME, outcome),
                KeyValue::new(label::REASON, reason),
            ],
        );
    }

    /// Bytes of payload went over a link.
    pub fn moved(&self, link: Link, bytes: u64) {
        self.inner
            .transfer
            .add(bytes, &[KeyValue::new(label::LINK, link.as_str())]);
    }

    /// A round ended.
    pub fn round_ended(&self, outcome: &'static str, duration: Duration) {
        let outcome = [KeyValue::new(label::OUTCOME, outcome)];
        self.inner.rounds.add(1, &outcome);
        self.inner
            .round_duration
            .record(duration.as_secs_f64(), &outcome);
    }

    /// The latest round this process knows.
    pub fn round_current(&self, round: u32) {
        self.inner.round_current.record(u64::from(round), &[]);
    }

    /// Local training took this long.
    pub fn trained(&self, duration: Duration) {
        self.inner
            .train_duration
            .record(duration.as_secs_f64(), &[]);
    }

    /// A contribution was checked, added and saved in this time.
    pub fn admitted(&self, duration: Duration) {
        self.inner
            .admit_duration
            .record(duration.as_secs_f64(), &[]);
    }

    /// The sum so far was made durable in this time.
    pub fn saved(&self, duration: Duration) {
        self.inner
            .snapshot_duration
            .record(duration.as_secs_f64(), &[]);
    }

    /// A message that is no contribution, or that nobody can be held to, was refused.
    pub fn refused(&self, reason: &'static str) {
        self.inner
            .refused
            .add(1, &[KeyValue::new(label::REASON, reason)]);
    }

    /// Devices that are there now.
    pub fn devices_connected(&self, devices: usize) {
        self.inner.devices_connected.record(devices as u64, &[]);
    }

    /// What is not settled yet.
    pub fn outbox_depth(&self, entries: usize) {
        self.inner.outbox_depth.record(entries as u64, &[]);
    }

    /// What waits to be handled.
    pub fn queue_depth(&self, messages: usize) {
        self.inner.queue_depth.record(messages as u64, &[]);
    }

    /// A bus was connected, for the first time or again.
    pub fn connected(&self, bus: Bus) {
        self.inner
            .connects
            .add(1, &[KeyValue::new(label::BUS, bus.as_str())]);
    }

    /// A message was sent again.
    pub fn resent(&self, bus: Bus, messages: u64) {
        self.inner
            .resends
            .add(messages, &[KeyValue::new(label::BUS, bus.as_str())]);
    }

    /// How good the latest model is.
    pub fn model(&self, accuracy: Option<f64>, loss: Option<f64>) {
        if let Some(accuracy) = accuracy {
            self.inner.model_accuracy.record(accuracy, &[]);
        }
        if let Some(loss) = loss {
            self.inner.model_loss.record(loss, &[]);
        }
    }

    /// Everything in the Prometheus text format, for a `/metrics` endpoint; see [`PROMETHEUS_CONTENT_TYPE`].
    pub fn prometheus_text(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.inner.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Everything as one OTLP request; none while nothing was recorded.
    pub(crate) fn otlp_request(&self) -> Option<ExportMetricsServiceRequest> {
        let mut collected = ResourceMetrics::default();
        match self.inner.reader.collect(&mut collected) {
            Ok(()) => collected
                .scope_metrics()
                .next()
                .is_some()
                .then(|| (&collected).into()),
            Err(error) => {
                tracing::debug!(%error, "metrics cannot be read");
                None
            }
        }
    }

    /// Shows what became of spans, read whenever metrics are.
    pub(crate) fn watch_spans(
        &self,
        counts: impl Fn() -> [(&'static str, u64); 3] + Send + Sync + 'static,
    ) {
        let counter = self.inner.meter.u64_observable_counter(name::SPANS);
        // The instrument lives in the provider; the handle is of no use.
        let _ = counter
            .with_description("spans, by what became of them")
            .with_callback(move |observer| {
                for (outcome, spans) in counts() {
                    observer.observe(spans, &[KeyValue::new(label::OUTCOME, outcome)]);
                }
            })
            .build();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nothing is pushed by the provider itself, so there is nothing to lose when it is already shut down.
        let _ = self.provider.shutdown();
    }
}

fn sdk_resource(resource: &Resource) -> opentelemetry_sdk::Resource {
    let attributes = resource
        .attributes()
        .map(|(key, value)| KeyValue::new(key, value.to_owned()));
    opentelemetry_sdk::Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}

/// A reader that the provider and the exporter share.
#[derive(Debug)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Service;

    #[test]
    fn prometheus_shows_what_was_counted() {
        let metrics = Metrics::new(&Identity {
            service: Service::FogAggregator,
            instance: "fog-north".into(),
            version: "0.1.0".into(),
            environment: "test".into(),
            host: String::new(),
            region: Some("north".into()),
        })
        .expect("metrics start");
        metrics.contribution("accepted", "");
        metrics.contribution("rejected", "bad_digest");
        metrics.contribution("rejected", "bad_digest");
        metrics.moved(Link::EdgeUp, 4096);
        metrics.round_ended("merged", Duration::from_millis(1500));
        metrics.model(Some(0.86), None);
        metrics.watch_spans(|| [("sent", 3), ("written", 0), ("dropped", 0)]);
        let text = metrics.prometheus_text().expect("text is written");
        for line in [
            "fl_contributions_total{outcome=\"rejected\",reason=\"bad_digest\"} 2",
            "fl_transfer_bytes_total{link=\"edge_up\"} 4096",
            "fl_round_duration_seconds_bucket{outcome=\"merged\",le=\"2.5\"} 1",
            "fl_model_accuracy 0.86",
            "fl_telemetry_spans_total{outcome=\"sent\"} 3",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is missing in\n{text}"
            );
        }
        let request = metrics.otlp_request().expect("something was recorded");
        let names: Vec<_> = request.resource_metrics[0].scope_metrics[0]
            .metrics
            .iter()
            .map(|m| m.name.as_str())
            .collect();
        assert!(
            names.contains(&"fl.contributions") && names.contains(&"fl.round.duration"),
            "{names:?}"
        );
    }
}
