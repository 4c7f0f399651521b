//! The root's settings file, `cloud-root.toml`.

use anyhow::Context as _;
use fl_round::RootLimits;
use fl_runtime::logging::LogSettings;
use fl_runtime::nats::{NatsSettings, StreamLimits};
use fl_runtime::settings;
use fl_telemetry::TelemetrySettings;
use serde::Deserialize;

use crate::home::Home;

/// The commented sample that `init` writes.
pub(crate) const SAMPLE: &str = include_str!("../../config/cloud-root.toml");

/// Before the names of environment variables that override the file: `FL_ROOT__NATS__URL`.
pub(crate) const ENVIRONMENT_PREFIX: &str = "FL_ROOT";

/// Everything that a root can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSettings {
    /// The message bus to the fogs.
    pub nats: NatsSettings,
    /// How much the streams may hold, and on how many servers.
    #[serde(default)]
    pub streams: StreamLimits,
    /// The monitoring port of nats-server (`http://host:8222`): with it the root sees whether every
    /// acknowledged message is on disk.
    pub monitor_url: Option<String>,
    /// The operators' endpoint.
    #[serde(default)]
    pub control: ControlSettings,
    /// How long is waited for what.
    #[serde(default)]
    pub rounds: RoundSettings,
    /// Traces.
    #[serde(default)]
    pub telemetry: TelemetrySettings,
    /// Log lines.
    #[serde(default)]
    pub log: LogSettings,
}

/// Where operators' commands reach the root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSettings {
    /// A loopback address; port 0 takes a free one.
    pub listen: String,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
        }
    }
}

/// How long a root waits for what, in milliseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundSettings {
    /// A fog is dead after that long without a heartbeat.
    pub fog_silence_ms: u64,
    /// After a start, fogs that were not heard yet are waited for that long.
    pub grace_ms: u64,
    /// Added to a job's deadline for what a fog needs to close and report.
    pub report_ms: u64,
    /// Before a job's first round, devices that are still starting are waited for that long.
    pub gather_ms: u64,
    /// Before another round is tried after one without its quorum; doubles with each that follows.
    pub retry_ms: u64,
    /// The longest such pause.
    pub retry_max_ms: u64,
}

impl Default for RoundSettings {
    fn default() -> Self {
        Self {
            fog_silence_ms: 5_000,
            grace_ms: 5_000,
            report_ms: 5_000,
            gather_ms: 5_000,
            retry_ms: 2_000,
            retry_max_ms: 60_000,
        }
    }
}

impl RoundSettings {
    /// As the state machine takes them.
    pub fn limits(&self) -> RootLimits {
        RootLimits {
            fog_silence_ms: self.fog_silence_ms,
            grace_ms: self.grace_ms,
            report_ms: self.report_ms,
            gather_ms: self.gather_ms,
            retry_ms: self.retry_ms,
            retry_max_ms: self.retry_max_ms,
        }
    }
}

impl RootSettings {
    /// The settings of a home.
    pub fn load(home: &Home) -> anyhow::Result<Self> {
        settings::load(&home.settings_file(), ENVIRONMENT_PREFIX)
            .context("settings of the cloud-root")
    }
}

#[cfg(test)]
mod tests {
    use fl_runtime::testing::{assert_names_every_key, uncommented};

    use super::*;

    const PLACE: &str = "config/cloud-root.toml";

    #[test]
    fn the_sample_is_read_as_it_stands() {
        let settings: RootSettings = settings::parse(SAMPLE, PLACE).unwrap();
        assert_eq!(settings.nats.url, crate::init::SAMPLE_NATS_URL);
        assert!(settings.monitor_url.is_none() && settings.telemetry.otlp.is_none());
    }

    #[test]
    fn what_the_sample_comments_out_is_read_too() {
        let settings: RootSettings = settings::parse(&uncommented(SAMPLE), PLACE).unwrap();
        assert!(settings.monitor_url.is_some() && settings.telemetry.otlp.is_some());
        let nats = &settings.nats;
        assert!(nats.ca_file.is_some() && nats.creds_file.is_some() && nats.token.is_some());
        let shown = |settings: &RootSettings| {
            let telemetry = &settings.telemetry;
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?}",
                settings.streams,
                settings.control,
                settings.rounds,
                settings.log,
                telemetry.file,
                telemetry.environment
            )
        };
        let defaults = settings::parse("nats.url = 'nats://h'", "defaults").unwrap();
        assert_eq!(shown(&settings), shown(&defaults));
    }

    #[test]
    fn the_sample_names_every_key() {
        let sections = [
            "",
            "nats",
            "streams",
            "control",
            "rounds",
            "telemetry",
            "telemetry.otlp",
            "log",
        ];
        assert_names_every_key::<RootSettings>(SAMPLE, &sections);
    }
}
