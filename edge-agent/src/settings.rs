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
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::ring::Bounds;

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

/// The `data` section: a file or a command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// A CSV file, plain or gzip; relative to the home.
    pub file: Option<PathBuf>,
    /// A program and its arguments, run in the home, that prints CSV as its sensor measures.
    #[serde(deserialize_with = "words")]
    pub command: Option<Vec<String>>,
    /// Most rows of the command that are kept: the newest.
    pub rows_max: Option<u64>,
    /// Most bytes that they take on disk.
    pub bytes_max: Option<u64>,
    /// Which rows train and which test, in place of what the job says.
    pub split: Option<SplitEntry>,
}

/// Signs that mean something to a shell, or part words otherwise than at blanks.
const SHELL_SIGNS: [char; 12] = ['"', '\'', '\\', '$', '`', '|', '&', ';', '<', '>', '*', '~'];

/// A list of words, or a text, as the environment gives it, whose words are parted by blanks.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        Text(String),
        Other(IgnoredAny),
    }
    let wanted = "write a list of words, [\"./read-sensor\", \"--every\", \"1s\"]; no shell reads it, which \
                  [\"sh\", \"-c\", \"…\"] would do";
    match Words::deserialize(from)? {
        Words::List(words) => Ok(Some(words)),
        Words::Text(text) if !text.contains(SHELL_SIGNS) => {
            Ok(Some(text.split_whitespace().map(str::to_owned).collect()))
        }
        Words::Text(_) | Words::Other(_) => Err(Error::custom(wanted)),
    }
}

/// Rows of a command that are kept where the settings do not say it.
const ROWS_MAX: u64 = 100_000;

/// What `data.rows_max` can be.
const ROWS_MAX_RANGE: std::ops::RangeInclusive<u64> = 2..=100_000_000;

/// Bytes that they take where the settings do not say it.
const BYTES_MAX: u64 = 64 << 20;

/// What `data.bytes_max` can be; as large as a data file can.
const BYTES_MAX_RANGE: std::ops::RangeInclusive<u64> = (64 << 10)..=(4 << 30);

/// Where a device's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// A file, from wherever the process runs.
    File(PathBuf),
    /// A command that prints them.
    Command(SensorCommand),
}

/// A command, and how much of what it prints is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorCommand {
    /// The program and its arguments; not empty.
    pub words: Vec<String>,
    /// How much is kept.
    pub bounds: Bounds,
}

impl DataSettings {
    fn source(&self, folder: &Path) -> anyhow::Result<DataSource> {
        let within =
            |key: &str, set: Option<u64>, default, range: std::ops::RangeInclusive<u64>| {
                let value = set.unwrap_or(default);
                anyhow::ensure!(
                    range.contains(&value),
                    "data.{key} is {value}: set it from {} to {}",
                    range.start(),
                    range.end()
                );
                Ok(value)
            };
        match (&self.file, &self.command) {
            (Some(file), None) => {
                let bound = self.rows_max.or(self.bytes_max);
                anyhow::ensure!(
                    bound.is_none(),
                    "data.rows_max and data.bytes_max bound what data.command prints, and data.file is set: \
                     take them out"
                );
                Ok(DataSource::File(folder.join(file)))
            }
            (None, Some(words)) => {
                let is_named = words.first().is_some_and(|program| !program.is_empty());
                anyhow::ensure!(
                    is_named,
                    "data.command names no program: write [\"./read-sensor\", \"--every\", \"1s\"]"
                );
                Ok(DataSource::Command(SensorCommand {
                    words: words.clone(),
                    bounds: Bounds {
                        rows_max: within("rows_max", self.rows_max, ROWS_MAX, ROWS_MAX_RANGE)?,
                        bytes_max: within("bytes_max", self.bytes_max, BYTES_MAX, BYTES_MAX_RANGE)?,
                    },
                }))
            }
            (Some(_), Some(_)) => anyhow::bail!(
                "data.file and data.command are both set: this device's rows come from one of them"
            ),
            (None, None) => anyhow::bail!(
                "neither data.file nor data.command is set: name a CSV file, or a command that prints rows"
            ),
        }
    }
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
    /// Where its rows come from.
    pub source: DataSource,
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
            source: settings.data.source(folder)?,
            split: split.context("data.split")?,
            settings,
        })
    }

    /// The folder of a command's rows.
    pub fn ring_folder(&self) -> PathBuf {
        self.folder.join(RING_FOLDER)
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

/// Name of the folder of a command's rows in a home.
pub const RING_FOLDER: &str = "ring";

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
        let file = PathBuf::from("/srv/edge/data.csv.gz");
        assert_eq!(home.source, DataSource::File(file));
        assert_eq!(home.split, None);
    }

    /// Every key that the sample explains in a comment is one that is read.
    #[test]
    fn what_the_sample_comments_out_is_read_too() {
        let mut settings: EdgeSettings =
            settings::parse(&uncommented(SAMPLE), "config/edge-agent.toml").unwrap();
        // Of file and command, which exclude each other, the sample sets the one and shows the other.
        settings.data.file = None;
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
        let command = SensorCommand {
            words: ["./read-sensor", "--every", "1s"]
                .map(str::to_owned)
                .to_vec(),
            bounds: Bounds {
                rows_max: ROWS_MAX,
                bytes_max: BYTES_MAX,
            },
        };
        assert_eq!(home.source, DataSource::Command(command));
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
    fn a_command_is_a_list_or_plain_words() {
        let command = |value: &str| {
            let text = SAMPLE.replace("file = \"data.csv.gz\"", &format!("command = {value}"));
            let settings: Result<EdgeSettings, _> = settings::parse(&text, "sample");
            settings.map(|settings| settings.data.command.unwrap())
        };
        assert_eq!(command("['a b', 'c']").unwrap(), ["a b", "c"]);
        assert_eq!(
            command("' ./a --every  1s'").unwrap(),
            ["./a", "--every", "1s"]
        );
        for wrong in ["'cat a | b'", "\"a 'b c'\"", "7", "[1, 2]"] {
            let error = command(wrong).unwrap_err().to_string();
            let said = ["data.command", "list of words"];
            assert!(said.iter().all(|part| error.contains(part)), "{error}");
        }
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
        check(|s| s.data.file = None, "neither data.file nor data.command");
        let command = || Some(vec!["read".to_owned()]);
        check(|s| s.data.rows_max = Some(9), "take them out");
        check(
            |s| s.data.command = Some(vec!["read".to_owned()]),
            "data.file and data.command are both set",
        );
        let with_command = |change: fn(&mut DataSettings), expected: &str| {
            let mut settings: EdgeSettings = settings::parse(SAMPLE, "sample").unwrap();
            settings.data.file = None;
            settings.data.command = command();
            change(&mut settings.data);
            let error = Home::new(Path::new("."), settings).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        };
        with_command(|d| d.command = Some(Vec::new()), "names no program");
        with_command(|d| d.rows_max = Some(1), "data.rows_max is 1");
        with_command(|d| d.bytes_max = Some(0), "data.bytes_max is 0");
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
