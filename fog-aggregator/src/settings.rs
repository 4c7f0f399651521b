//! The settings of a gateway: `fog-aggregator.toml` in its home, then the environment (`FL_FOG__…`).

use std::path::Path;

use anyhow::Context as _;
use fl_model::{MemberId, RegionId};
use fl_runtime::broker::BrokerSettings;
use fl_runtime::keys::{self, RootSettings};
use fl_runtime::logging::LogSettings;
use fl_runtime::mqtt::MqttSettings;
use fl_runtime::nats::NatsSettings;
use fl_runtime::settings;
use fl_runtime::terminal::home_command;
use fl_telemetry::TelemetrySettings;
use fl_wire::VerifyingKey;
use serde::Deserialize;

use crate::disk::Home;
use crate::mail::Me;

/// What the names of variables that override a setting begin with.
pub const ENVIRONMENT_PREFIX: &str = "FL_FOG";

/// The commented sample that `init` fills in.
pub const SAMPLE: &str = include_str!("../../config/fog-aggregator.toml");

/// A settings file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FogSettings {
    /// Name of the gateway in the roster.
    pub name: String,
    /// The region that it serves.
    pub region: String,
    /// Whom it believes.
    pub root: RootSettings,
    /// The way to the root.
    pub nats: NatsSettings,
    /// The broker that it carries with it; not started where `broker` names another.
    #[serde(default)]
    pub embedded_broker: BrokerSettings,
    /// A broker elsewhere, in place of the embedded one.
    #[serde(default)]
    pub broker: Option<MqttSettings>,
    /// Where `status` and metrics are asked for.
    #[serde(default)]
    pub control: ControlSettings,
    /// Spans and metrics.
    #[serde(default)]
    pub telemetry: TelemetrySettings,
    /// How long devices are waited for.
    #[serde(default)]
    pub rounds: RoundSettings,
    /// What it keeps on disk.
    #[serde(default)]
    pub store: StoreSettings,
    /// What it says on standard error.
    #[serde(default)]
    pub log: LogSettings,
}

/// The `control` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSettings {
    /// Loopback address; 0 lets the system choose a port.
    pub listen: String,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
        }
    }
}

/// The `rounds` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundSettings {
    /// A device is not waited for after that long without a sign of life.
    pub silence_ms: u64,
    /// After a start, devices that were not heard yet are waited for that long.
    pub grace_ms: u64,
}

impl Default for RoundSettings {
    fn default() -> Self {
        Self {
            silence_ms: 6_000,
            grace_ms: 5_000,
        }
    }
}

/// The `store` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Most bytes of models and parameters.
    pub objects_bytes_max: u64,
    /// Most bytes of partial sums that are not settled.
    pub outbox_bytes_max: u64,
    /// Bytes that `check` wants to be free.
    pub free_bytes_min: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            objects_bytes_max: 1 << 30,
            outbox_bytes_max: 1 << 30,
            free_bytes_min: 256 << 20,
        }
    }
}

impl FogSettings {
    /// Reads the settings of a home, then the environment.
    ///
    /// # Errors
    /// The file and the key that are wrong.
    pub fn load(home: &Home) -> anyhow::Result<Self> {
        let settings: Self = settings::load(&home.settings(), ENVIRONMENT_PREFIX)?;
        settings
            .check()
            .with_context(|| home.settings().display().to_string())?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.names()?;
        self.root_key()?;
        let rounds = &self.rounds;
        for (name, value) in [
            ("silence_ms", rounds.silence_ms),
            ("grace_ms", rounds.grace_ms),
        ] {
            anyhow::ensure!(value > 0, "rounds.{name} is 0: set at least 1");
        }
        Ok(())
    }

    /// The names of gateway and region.
    ///
    /// # Errors
    /// The setting that is no name.
    pub fn names(&self) -> anyhow::Result<(MemberId, RegionId)> {
        let name = MemberId::new(&self.name).context("name")?;
        anyhow::ensure!(
            name.as_str() != fl_model::ROOT_NAME,
            "name: {name:?} is the root's own: take another"
        );
        Ok((name, RegionId::new(&self.region).context("region")?))
    }

    /// The pinned key.
    ///
    /// # Errors
    /// It is none.
    pub fn root_key(&self) -> anyhow::Result<VerifyingKey> {
        Ok(self.root.key()?)
    }

    /// Who this gateway is, with its key out of the home.
    ///
    /// # Errors
    /// The key or a setting is wrong.
    pub fn identity(&self, home: &Home) -> anyhow::Result<Me> {
        let (name, region) = self.names()?;
        Ok(Me {
            name,
            region,
            key: keys::load(&home.key())?,
            root: self.root_key()?,
        })
    }
}

/// Parses settings out of a text; for samples.
///
/// # Errors
/// The key that is wrong.
pub fn parse(text: &str, place: &str) -> anyhow::Result<FogSettings> {
    let settings: FogSettings = settings::parse(text, place)?;
    settings.check().with_context(|| place.to_owned())?;
    Ok(settings)
}

/// Reads what must be there of a home before anything is done with it.
///
/// # Errors
/// The home is none.
pub fn require_home(folder: &Path) -> anyhow::Result<Home> {
    anyhow::ensure!(
        folder.is_dir(),
        "{} is no folder: make a home with `{}`",
        folder.display(),
        home_command("fog-aggregator", "init", folder)
    );
    Ok(Home::at(folder))
}

#[cfg(test)]
mod tests {
    use fl_runtime::testing::{assert_names_every_key, uncommented};

    use super::*;

    #[test]
    fn the_sample_is_valid_and_says_the_defaults() {
        let sample = parse(SAMPLE, "config/fog-aggregator.toml").unwrap();
        let minimal = "name = 'a'\nregion = 'b'\n[nats]\nurl = 'nats://h'\n[root]\npublic_key = \
                       'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'";
        let defaults = parse(minimal, "minimal").unwrap();
        assert_eq!(sample.rounds.silence_ms, defaults.rounds.silence_ms);
        assert_eq!(sample.rounds.grace_ms, defaults.rounds.grace_ms);
        assert_eq!(
            sample.store.objects_bytes_max,
            defaults.store.objects_bytes_max
        );
        assert_eq!(
            sample.store.outbox_bytes_max,
            defaults.store.outbox_bytes_max
        );
        assert_eq!(sample.store.free_bytes_min, defaults.store.free_bytes_min);
        assert_eq!(sample.control.listen, defaults.control.listen);
        assert_eq!(
            sample.embedded_broker.listen,
            defaults.embedded_broker.listen
        );
        assert_eq!(
            sample.embedded_broker.clients_max,
            defaults.embedded_broker.clients_max
        );
        assert_eq!(sample.telemetry, defaults.telemetry);
        assert!(sample.broker.is_none());
    }

    #[test]
    fn the_sample_with_every_comment_taken_off_is_valid_too() {
        let settings = parse(&uncommented(SAMPLE), "all of the sample").unwrap();
        assert!(settings.broker.is_some() && settings.telemetry.otlp.is_some());
        assert!(settings.embedded_broker.cert_file.is_some());
        let sections = [
            "",
            "root",
            "nats",
            "embedded_broker",
            "broker",
            "control",
            "telemetry",
            "telemetry.otlp",
            "rounds",
            "store",
            "log",
        ];
        assert_names_every_key::<FogSettings>(SAMPLE, &sections);
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |values: &[(&str, &str, &str)], expected: &str| {
            let text = settings::fill(SAMPLE, values).unwrap();
            let error = format!("{:#}", parse(&text, "fog-aggregator.toml").unwrap_err());
            assert!(
                error.contains(expected) && error.contains("fog-aggregator.toml"),
                "{error}"
            );
        };
        check(&[("", "name", "a b")], "name");
        check(&[("", "name", "root")], "take another");
        check(&[("", "region", "a/b")], "region");
        check(&[("root", "public_key", "abc")], "root.public_key");
        let unknown = parse(&SAMPLE.replace("silence_ms", "silense_ms"), "f").unwrap_err();
        assert!(format!("{unknown:#}").contains("silence_ms"), "{unknown:#}");
    }
}
