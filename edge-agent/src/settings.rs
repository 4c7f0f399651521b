//! The settings of an agent: `edge-agent.toml` in its home, then the environment (`FL_EDGE__…`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fl_model::{DeviceId, RegionId, Split};
use fl_runtime::job_file::SplitEntry;
use fl_runtime::keys::RootSettings;
use fl_runtime::logging::LogSettings;
use fl_runtime::mqtt::MqttSettings;
use fl_runtime::settings;
use fl_wire::VerifyingKey;
use serde::Deserialize;

/// What the names of variables that override a setting begin with.
pub const ENVIRONMENT_PREFIX: &str = "FL_EDGE";

/// Name of the settings file in a home.
pub const SETTINGS_FILE: &str = "edge-agent.toml";

/// A settings file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeSettings {
    /// Name of the device in the roster.
    pub name: String,
    /// The region that it belongs to.
    pub region: String,
    /// Whom it believes.
    pub root: RootSettings,
    /// Its region's broker.
    pub broker: MqttSettings,
    /// Its examples.
    pub data: DataSettings,
    /// What trains.
    #[serde(default)]
    pub runtime: RuntimeSettings,
    /// Contributions until they are settled.
    #[serde(default)]
    pub outbox: OutboxSettings,
    /// Models and parameters that were fetched.
    #[serde(default)]
    pub cache: CacheSettings,
    /// How often it speaks without being asked.
    #[serde(default)]
    pub timing: TimingSettings,
    /// What it says on standard error.
    #[serde(default)]
    pub log: LogSettings,
}

/// The `data` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A CSV file, plain or gzip; relative to the home.
    pub file: PathBuf,
    /// Which rows train and which test, in place of what the job says.
    #[serde(default)]
    pub split: Option<SplitEntry>,
}

/// The `runtime` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeSettings {
    /// ONNX Runtime's shared library; `ORT_DYLIB_PATH` names it when this does not.
    pub onnxruntime: Option<PathBuf>,
}

/// The `outbox` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxSettings {
    /// Most bytes of contributions that are not settled.
    pub bytes_max: u64,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
        }
    }
}

/// The `cache` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Most bytes of models and parameters, on disk and while they arrive.
    pub bytes_max: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            bytes_max: 512 << 20,
        }
    }
}

/// The `timing` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingSettings {
    /// Between signs of life to the fog.
    pub beat_ms: u64,
    /// After which a contribution without an answer is sent again.
    pub resend_ms: u64,
    /// After which missing pieces of a model are asked for.
    pub want_ms: u64,
}

impl Default for TimingSettings {
    fn default() -> Self {
        Self {
            beat_ms: 2_000,
            resend_ms: 5_000,
            want_ms: 700,
        }
    }
}

/// Shortest and longest of the times in [`TimingSettings`], in milliseconds.
const TIMING_MS: std::ops::RangeInclusive<u64> = 50..=600_000;

/// A device's home: settings that have been checked, and where its files lie.
#[derive(Debug, Clone)]
pub struct Home {
    /// The folder.
    pub folder: PathBuf,
    /// The settings as written.
    pub settings: EdgeSettings,
    /// The device.
    pub device: DeviceId,
    /// Its region.
    pub region: RegionId,
    /// The root's key.
    pub root_key: VerifyingKey,
    /// The data file, from wherever the process runs.
    pub data_file: PathBuf,
    /// Which rows train and which test, where the settings say it.
    pub split: Option<Split>,
}

impl Home {
    /// Reads and checks the settings in `folder`.
    ///
    /// # Errors
    /// What is wrong with them, naming the file and the key.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(SETTINGS_FILE);
        let settings: EdgeSettings = settings::load(&file, ENVIRONMENT_PREFIX)?;
        Self::new(folder, settings).with_context(|| file.display().to_string())
    }

    /// Checks settings that were read from `folder`.
    ///
    /// # Errors
    /// Which key is wrong, and what it takes.
    pub fn new(folder: &Path, settings: EdgeSettings) -> anyhow::Result<Self> {
        let root_key = settings.root.key()?;
        let split = settings.data.split.as_ref().map(SplitEntry::rule);
        let split = split.transpose().map_err(anyhow::Error::msg);
        let timing = &settings.timing;
        for (key, set) in [
            ("beat_ms", timing.beat_ms),
            ("resend_ms", timing.resend_ms),
            ("want_ms", timing.want_ms),
        ] {
            anyhow::ensure!(
                TIMING_MS.contains(&set),
                "timing.{key} is {set}: set it from {} to {}",
                TIMING_MS.start(),
                TIMING_MS.end()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            device: DeviceId::new(&settings.name).context("name")?,
            region: RegionId::new(&settings.region).context("region")?,
            root_key,
            data_file: folder.join(&settings.data.file),
            split: split.context("data.split")?,
            settings,
        })
    }

    /// The file of the device's key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join(KEY_FILE)
    }

    /// The library that trains, where the settings name one.
    pub fn onnxruntime(&self) -> Option<PathBuf> {
        let path = self.settings.runtime.onnxruntime.as_ref()?;
        Some(self.folder.join(path))
    }
}

/// Name of the key file in a home.
pub const KEY_FILE: &str = "key";

#[cfg(test)]
mod tests {
    use fl_runtime::testing::{assert_names_every_key, uncommented};

    use super::*;

    const SAMPLE: &str = include_str!("../../config/edge-agent.toml");

    #[test]
    fn the_sample_is_read() {
        let settings = settings::parse(SAMPLE, "config/edge-agent.toml").unwrap();
        let home = Home::new(Path::new("/srv/edge"), settings).unwrap();
        assert_eq!(home.data_file, Path::new("/srv/edge/data.csv.gz"));
        assert_eq!(home.split, None);
    }

    /// Every key that the sample explains in a comment is one that is read.
    #[test]
    fn what_the_sample_comments_out_is_read_too() {
        let settings: EdgeSettings =
            settings::parse(&uncommented(SAMPLE), "config/edge-agent.toml").unwrap();
        assert!(settings.broker.ca_file.is_some());
        assert!(settings.runtime.onnxruntime.is_some());
        assert_eq!(
            settings.outbox.bytes_max,
            OutboxSettings::default().bytes_max
        );
        assert_eq!(settings.cache.bytes_max, CacheSettings::default().bytes_max);
        assert_eq!(settings.timing.beat_ms, TimingSettings::default().beat_ms);
        assert_eq!(
            settings.timing.resend_ms,
            TimingSettings::default().resend_ms
        );
        assert_eq!(settings.timing.want_ms, TimingSettings::default().want_ms);
        let home = Home::new(Path::new("."), settings).unwrap();
        let split = Split::Rows {
            train: (0, Some(26_280)),
            test: (26_280, None),
        };
        assert_eq!(home.split, Some(split));
    }

    #[test]
    fn the_sample_names_every_key() {
        // Of data.split, whose ways exclude each other, it shows one.
        let sections = [
            "", "root", "broker", "data", "runtime", "outbox", "cache", "timing", "log",
        ];
        assert_names_every_key::<EdgeSettings>(SAMPLE, &sections);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let check = |change: fn(&mut EdgeSettings), expected: &str| {
            let mut settings = settings::parse(SAMPLE, "sample").unwrap();
            change(&mut settings);
            let error = Home::new(Path::new("."), settings).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        };
        check(|s| s.name = "a/b".into(), "\"a/b\"");
        check(|s| s.region = String::new(), "region");
        check(|s| s.root.public_key = "abc".into(), "root.public_key");
        check(|s| s.timing.beat_ms = 0, "timing.beat_ms");
        check(
            |s| {
                s.data.split = Some(SplitEntry {
                    test_fraction: Some(2.0),
                    ..SplitEntry::default()
                });
            },
            "data.split",
        );
    }
}
