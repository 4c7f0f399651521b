//! What a process says on standard error.

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Directives of these crates come after the chosen level: their own lines tell a user little that our
/// lines do not.
const QUIET: &str =
    "rumqttc=off,mqtt5=warn,async_nats=warn,hyper=warn,h2=warn,tower=warn,opentelemetry=warn";

/// The environment variable that overrides the level, in the syntax of `tracing-subscriber`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// How to log: the `log` section of a settings file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// error, warn, info, debug or trace; or directives such as `info,fl_round=debug`.
    pub level: String,
    /// A JSON object per line instead of text.
    pub json: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".into(),
            json: false,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is none.
    #[error("log level {level:?} is not one: use error, warn, info, debug or trace ({why})")]
    Level {
        /// What was given, by the settings or by RUST_LOG.
        level: String,
        /// Which part of it is wrong.
        why: String,
    },
    /// Somebody set up logging before.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Lines to standard error, filtered; for a process that composes them with other layers.
///
/// # Errors
/// [`LoggingError::Level`].
pub fn layer<S>(settings: &LogSettings) -> Result<Box<dyn Layer<S> + Send + Sync>, LoggingError>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let level = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| settings.level.clone());
    let filter = filter(&level)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // It would say so on standard error, and panic where nobody reads that any more.
        .log_internal_errors(false)
        .with_target(false);
    Ok(match settings.json {
        true => lines.json().with_filter(filter).boxed(),
        false => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_filter(filter)
            .boxed(),
    })
}

/// Sets up logging alone, for a process that exports no spans.
///
/// # Errors
/// Every [`LoggingError`].
pub fn init(settings: &LogSettings) -> Result<(), LoggingError> {
    tracing_subscriber::registry()
        .with(layer(settings)?)
        .try_init()
        .map_err(|_| LoggingError::AlreadySet)
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| LoggingError::Level {
        level: level.to_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_checked() {
        for good in ["info", "debug", "warn,fl_round=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        let error = filter("fl_round=loud").unwrap_err().to_string();
        assert!(error.contains("loud"), "{error}");
    }
}
