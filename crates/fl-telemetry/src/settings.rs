//! The `[telemetry]` table of every binary's settings file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// Default interval of pushed metrics [s].
const METRICS_INTERVAL_S: u64 = 10;

/// What a process tells and where to. Nothing leaves it by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Append all spans to `spans.jsonl` in the home folder.
    pub file: bool,
    /// `deployment.environment.name` on every span and metric; empty: left out.
    pub environment: String,
    /// A collector that speaks OTLP over gRPC, such as Jaeger.
    pub otlp: Option<OtlpSettings>,
}

/// An OTLP collector.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// `http://host:4317`, or `https://…` for TLS.
    pub endpoint: String,
    /// Send traces.
    #[serde(default = "yes")]
    pub traces: bool,
    /// Send metrics. Off by default, because Jaeger takes none.
    #[serde(default)]
    pub metrics: bool,
    /// How often metrics are sent [s].
    #[serde(default = "metrics_interval_s")]
    pub metrics_interval_s: u64,
    /// Authorities to trust instead of the system's, PEM; relative to the home, as the two below.
    pub ca_file: Option<PathBuf>,
    /// Client certificate, PEM; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// Sent with each request, such as `authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl OtlpSettings {
    /// Traces only, without TLS, to this address.
    pub fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            traces: true,
            metrics: false,
            metrics_interval_s: METRICS_INTERVAL_S,
            ca_file: None,
            cert_file: None,
            key_file: None,
            headers: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for OtlpSettings {
    /// Header values are secrets; only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("traces", &self.traces)
            .field("metrics", &self.metrics)
            .field("metrics_interval_s", &self.metrics_interval_s)
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}

fn yes() -> bool {
    true
}

fn metrics_interval_s() -> u64 {
    METRICS_INTERVAL_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_unknown_keys_refused() {
        let read = |text: &str| serde_json::from_str::<TelemetrySettings>(text);
        assert_eq!(
            read("{}").expect("all has defaults"),
            TelemetrySettings::default()
        );
        let full = read(
            r#"{"file": true, "otlp": {"endpoint": "http://127.0.0.1:4317", "metrics": true}}"#,
        );
        let otlp = full
            .expect("all keys are known")
            .otlp
            .expect("otlp was given");
        assert!(otlp.traces && otlp.metrics && otlp.metrics_interval_s == 10);
        assert!(read(r#"{"fiel": true}"#).is_err());
        assert!(read(r#"{"otlp": {"endpoint": "http://h:1", "trace": true}}"#).is_err());
    }

    #[test]
    fn header_values_are_not_shown() {
        let mut settings = OtlpSettings::new("https://collector:4317");
        settings
            .headers
            .insert("authorization".into(), "Bearer s3cret".into());
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("authorization") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
