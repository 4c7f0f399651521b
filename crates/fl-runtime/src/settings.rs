//! Settings: a TOML file, then the environment over it.
//!
//! `FL_EDGE__BROKER__URL` sets `url` in section `broker` when the prefix is `FL_EDGE`. Durations and
//! sizes are plain integers whose keys name the unit (`deadline_ms`, `update_bytes_max`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Map};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Between the prefix, the sections and the key in a variable's name.
const SEPARATOR: &str = "__";

/// Names less alike than this are not suggested (Jaro-Winkler, 1 is equal).
const SUGGESTION_MIN: f64 = 0.7;

/// Why the settings cannot be used. Each names the file or the variable, and the key.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such file.
    #[error("{} does not exist: make it with the init command", path.display())]
    Missing {
        /// The settings file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The settings file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place} is not valid TOML: {why}")]
    Syntax {
        /// The settings file.
        place: String,
        /// Where and what.
        why: String,
    },
    /// A key that nothing reads.
    #[error("{place} sets unknown key {key:?}: {hint}")]
    UnknownKey {
        /// The file or the variable.
        place: String,
        /// The key with its sections.
        key: String,
        /// The nearest right one, or all of them.
        hint: String,
    },
    /// A key that must be there.
    #[error("{place} does not set {key:?}: add it")]
    MissingKey {
        /// The file.
        place: String,
        /// The key with its sections.
        key: String,
    },
    /// A value that cannot stand there.
    #[error("{place} sets {key:?} to something else than it takes: {why}")]
    WrongValue {
        /// The file or the variable.
        place: String,
        /// The key with its sections.
        key: String,
        /// What was found and what was expected.
        why: String,
    },
}

/// Reads the settings in `path`, then the variables that begin with `env_prefix` and two underscores.
///
/// # Errors
/// Every [`SettingsError`].
pub fn load<T: DeserializeOwned>(path: &Path, env_prefix: &str) -> Result<T, SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SettingsError::Missing {
            path: path.to_owned(),
        },
        _ => SettingsError::Read {
            path: path.to_owned(),
            source,
        },
    })?;
    let place = path.display().to_string();
    build(&text, &place, variables(env_prefix))
}

/// Reads settings from `text` alone; `place` stands for it in errors. For samples and jobs.
///
/// # Errors
/// Every [`SettingsError`] but those of reading the file.
pub fn parse<T: DeserializeOwned>(text: &str, place: &str) -> Result<T, SettingsError> {
    build(text, place, BTreeMap::new())
}

/// Sets `key = value` lines of a TOML text, in the section that `(section, key)` names; the empty
/// section is the top. None where the text has no such line.
pub fn fill(text: &str, values: &[(&str, &str, &str)]) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (section, key, value) in values {
        let mut within = "";
        let headers: Vec<Option<String>> = lines.iter().map(|line| header(line)).collect();
        let at = lines.iter().zip(&headers).position(|(line, header)| {
            if let Some(header) = header {
                within = header;
            }
            let assigned = line.split_once('=').map(|(key, _)| key.trim());
            within == *section && assigned == Some(key)
        })?;
        lines[at] = format!("{key} = {}", quoted(value));
    }
    Some(lines.join("\n") + "\n")
}

fn header(line: &str) -> Option<String> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    Some(name.to_owned())
}

/// A text as a basic string of TOML.
pub fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", c as u32)),
            c => text.push(c),
        }
    }
    text + "\""
}

/// A value that does not show in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for whoever it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Variables under a prefix: the key with dots, and the variable's name as it was set.
fn variables(env_prefix: &str) -> BTreeMap<String, (String, String)> {
    let prefix = format!("{env_prefix}{SEPARATOR}").to_lowercase();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter_map(|(name, value)| {
            let lower = name.to_lowercase();
            let key = lower.strip_prefix(&prefix)?.replace(SEPARATOR, ".");
            Some((key, (name, value)))
        })
        .collect()
}

fn build<T: DeserializeOwned>(
    text: &str,
    place: &str,
    variables: BTreeMap<String, (String, String)>,
) -> Result<T, SettingsError> {
    // What is wrong is said without the line itself: it may hold a password.
    toml::from_str::<toml::Table>(text).map_err(|error| SettingsError::Syntax {
        place: place.to_owned(),
        why: syntax(text, &error),
    })?;
    let overrides: Map<String, String> = variables
        .iter()
        .map(|(key, (_, value))| (key.clone(), value.clone()))
        .collect();
    let merged = Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(Environment::default().source(Some(overrides)))
        .build();
    let merged = merged.map_err(|error| SettingsError::Syntax {
        place: place.to_owned(),
        why: error.to_string().trim_end().to_owned(),
    })?;
    let where_set = |key: &str| match variables.get(&key.to_lowercase()) {
        Some((name, _)) => format!("environment variable {name}"),
        None => place.to_owned(),
    };
    merged
        .try_deserialize()
        .map_err(|error| explain(error, where_set))
}

/// Line, column and message of an error in TOML.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(text.len(), |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.lines().last().filter(|_| !before.ends_with('\n'));
    let column = column.map_or(0, |start| start.chars().count()) + 1;
    format!("line {line}, column {column}: {}", error.message())
}

fn explain(error: ConfigError, where_set: impl Fn(&str) -> String) -> SettingsError {
    let (key, why) = match error {
        ConfigError::NotFound(key) => {
            let place = where_set(&key);
            return SettingsError::MissingKey { place, key };
        }
        ConfigError::At { error, key, .. } => match *error {
            ConfigError::NotFound(inner) => {
                let key = join(key.as_deref(), &inner);
                let place = where_set(&key);
                return SettingsError::MissingKey { place, key };
            }
            other => (key, other.to_string()),
        },
        ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (key, format!("found {unexpected}, expected {expected}")),
        other => (None, other.to_string()),
    };
    if let Some(inner) = quoted_after(&why, "missing field ") {
        let key = join(key.as_deref(), inner);
        let place = where_set(&key);
        return SettingsError::MissingKey { place, key };
    }
    if let Some(unknown) = quoted_after(&why, "unknown field ") {
        let full = join(key.as_deref(), unknown);
        return SettingsError::UnknownKey {
            place: where_set(&full),
            hint: hint(unknown, &why, key.as_deref()),
            key: full,
        };
    }
    let key = key.unwrap_or_default();
    SettingsError::WrongValue {
        place: where_set(&key),
        key,
        why,
    }
}

fn join(section: Option<&str>, key: &str) -> String {
    match section.filter(|section| !section.is_empty()) {
        Some(section) => format!("{}.{key}", section.trim_end_matches('.')),
        None => key.to_owned(),
    }
}

/// The word in backquotes that follows `lead` at the start of a message of serde's.
fn quoted_after<'a>(message: &'a str, lead: &str) -> Option<&'a str> {
    message
        .strip_prefix(lead)?
        .strip_prefix('`')?
        .split('`')
        .next()
}

/// What to write instead, out of serde's list of the fields it knows.
fn hint(unknown: &str, message: &str, section: Option<&str>) -> String {
    let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let alike = |name: &&&str| (strsim::jaro_winkler(unknown, name) * 1e6) as u64;
    let nearest = known
        .iter()
        .max_by_key(alike)
        .filter(|name| strsim::jaro_winkler(unknown, name) >= SUGGESTION_MIN);
    match nearest {
        Some(name) => format!("did you mean {:?}?", join(section, name)),
        None if known.is_empty() => "nothing can be set there".into(),
        None => format!("known there: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        broker: Broker,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Broker {
        url: String,
        password: Option<Secret>,
        keep_alive_s: u16,
    }

    fn overriding(pairs: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
        pairs
            .iter()
            .map(|(key, value)| {
                let name = format!("FL_EDGE__{}", key.replace('.', "__").to_uppercase());
                ((*key).to_owned(), (name, (*value).to_owned()))
            })
            .collect()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "name = 'edge'\n[broker]\nurl = 'a'\nkeep_alive_s = 5";
        let settings: Sample = build(
            text,
            "f",
            overriding(&[("broker.url", "0012"), ("broker.keep_alive_s", "30")]),
        )
        .unwrap();
        assert_eq!(settings.broker.url, "0012");
        assert_eq!(settings.broker.keep_alive_s, 30);
    }

    #[test]
    fn each_error_names_the_place_and_the_key() {
        let check = |text: &str, set: &[(&str, &str)], expected: &[&str]| {
            let error = build::<Sample>(text, "edge.toml", overriding(set)).unwrap_err();
            let message = error.to_string();
            for part in expected {
                assert!(message.contains(part), "{part:?} in {message}");
            }
        };
        check("nam = 'edge'", &[], &["edge.toml", "\"nam\"", "\"name\""]);
        check("", &[], &["edge.toml", "\"name\""]);
        check(
            "name = 'e'\n[broker]\nurll = 'x'",
            &[],
            &["edge.toml", "broker.urll", "mean \"broker.url\""],
        );
        check(
            "name = 'e'\n[broker]\nzzz = 1",
            &[],
            &["broker.zzz", "url, password, keep_alive_s"],
        );
        check(
            "name = 'e'",
            &[("broker.kep_alive_s", "3")],
            &["FL_EDGE__BROKER__KEP_ALIVE_S", "broker.keep_alive_s"],
        );
        check(
            "name = 'e'\n[broker]\nkeep_alive_s = 'soon'",
            &[],
            &["edge.toml", "broker.keep_alive_s", "soon", "integer"],
        );
        check(
            "name = 'e'",
            &[("broker.keep_alive_s", "soon")],
            &["FL_EDGE__BROKER__KEEP_ALIVE_S", "soon"],
        );
        check("name = [", &[], &["edge.toml", "TOML", "line 1, column 9"]);
        check("name = 'e'\n[", &[], &["edge.toml", "TOML", "line 2"]);
    }

    #[test]
    fn a_value_is_set_in_its_section_whatever_it_is() {
        let text = "# name = 'x'\nname = 'a'\n\n[broker]\n# Where.\nurl = ''\nkeep_alive_s = 5\n";
        let odd = "mqtt://a\"b\\c\u{1}";
        let filled = fill(text, &[("broker", "url", odd), ("", "name", "b")]).unwrap();
        let settings: Sample = parse(&filled, "f").unwrap();
        assert_eq!(
            (settings.name.as_str(), settings.broker.url.as_str()),
            ("b", odd)
        );
        assert_eq!(settings.broker.keep_alive_s, 5);
        assert!(filled.starts_with("# name = 'x'\n") && filled.contains("# Where."));
        assert_eq!(fill(text, &[("broker", "nothing", "x")]), None);
        assert_eq!(fill(text, &[("nothing", "url", "x")]), None);
    }

    #[test]
    fn a_secret_does_not_show() {
        let settings: Sample = parse("name = 'e'\nbroker.password = 'hunter2'", "f").unwrap();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(settings.broker.password.unwrap().expose(), "hunter2");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_not_shown() {
        for line in [
            "password = \"hunter2",
            "password = hunter2",
            "password = 'hunter2\nurl = 'x'",
            "password 'hunter2'",
            "password = 'hunter2' 'hunter2'",
            "password = \"\"\"hunter2",
            "password = ['hunter2'",
        ] {
            let text = format!("name = 'e'\n[broker]\n{line}");
            let error = parse::<Sample>(&text, "edge.toml").unwrap_err().to_string();
            assert!(
                error.contains("edge.toml") && error.contains("line 3"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let error = load::<Sample>(Path::new("/nonexistent/edge.toml"), "FL_TEST").unwrap_err();
        assert!(error.to_string().contains("init"), "{error}");
    }
}
