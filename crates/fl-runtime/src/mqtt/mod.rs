//! The session with an MQTT broker, from a client's side.

mod delivery;
mod explain;
mod session;

pub use delivery::{Message, NotDelivered};
pub use session::{Event, Events, Presence, Session, SessionOptions, open, probe};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use serde::Deserialize;

use crate::settings::Secret;
use crate::tls::{TlsError, TlsFiles};
use crate::url::{BusUrl, InvalidUrl, Scheme};

/// Largest payload of a publish, in bytes: what the strictest public broker takes.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// Largest packet in bytes: a payload, its topic, its properties.
pub(crate) const PACKET_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX as u32 + 16 * 1024;

const SCHEMES: [Scheme; 2] = [
    Scheme {
        name: "mqtt",
        tls: false,
        default_port: 1883,
    },
    Scheme {
        name: "mqtts",
        tls: true,
        default_port: 8883,
    },
];

/// Which broker: the `broker` section of a settings file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// User; the client id when there is none.
    #[serde(default)]
    pub user: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// PEM of the authorities to trust with `mqtts`; the system's when there is none.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate, when the broker wants one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Seconds between signs of life; the broker reports us gone after one and a half times that.
    #[serde(default = "keep_alive_s")]
    pub keep_alive_s: u16,
}

/// Seconds between signs of life unless the settings say otherwise.
fn keep_alive_s() -> u16 {
    15
}

/// Shortest and longest time between signs of life, in seconds.
const KEEP_ALIVE_S: std::ops::RangeInclusive<u16> = 2..=600;

impl MqttSettings {
    /// Only an address; the rest as by default.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            keep_alive_s: keep_alive_s(),
        }
    }
}

impl MqttSettings {
    /// The address, with what can be known of it before certificates are there.
    ///
    /// # Errors
    /// [`MqttSettingsError::Url`], [`MqttSettingsError::PasswordShown`].
    pub fn address(&self) -> Result<BusUrl, MqttSettingsError> {
        let url = BusUrl::parse(&self.url, &SCHEMES)?;
        self.password(&url)?;
        Ok(url)
    }

    fn password(&self, url: &BusUrl) -> Result<Option<Secret>, MqttSettingsError> {
        let password = self.password.as_ref().or(url.password.as_ref());
        match password {
            Some(_) if is_exposed(url) => Err(MqttSettingsError::PasswordShown(url.to_string())),
            password => Ok(password.cloned()),
        }
    }
}

fn is_exposed(url: &BusUrl) -> bool {
    !url.scheme.tls && !url.is_loopback()
}

/// Why the settings name no broker. Each names the setting.
#[derive(Debug, thiserror::Error)]
pub enum MqttSettingsError {
    /// The address is none.
    #[error("broker.url: {0}")]
    Url(#[from] InvalidUrl),
    /// Certificates cannot be used.
    #[error("broker: {0}")]
    Tls(#[from] TlsError),
    /// A password for a connection to another machine that is not encrypted.
    #[error(
        "broker: a password is set, and mqtt:// would show it to every machine between here and {0}: \
         write mqtts://"
    )]
    PasswordShown(String),
    /// Certificates for a connection that is not encrypted.
    #[error(
        "broker: certificates are set but broker.url begins with mqtt://: write mqtts://, or remove ca_file, cert_file and key_file"
    )]
    TlsUnused,
    /// The sign of life is too frequent or too rare.
    #[error("broker.keep_alive_s is {set}: set it from {} to {}", KEEP_ALIVE_S.start(), KEEP_ALIVE_S.end())]
    KeepAlive {
        /// What was set.
        set: u16,
    },
}

/// A broker to connect to, with everything that was read from files.
#[derive(Debug, Clone)]
pub struct MqttServer {
    pub(crate) url: BusUrl,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) keep_alive_s: u16,
}

impl MqttServer {
    /// Checks `settings` and reads the files they name, relative ones from `folder`.
    ///
    /// # Errors
    /// Every [`MqttSettingsError`].
    pub fn new(settings: &MqttSettings, folder: &Path) -> Result<Self, MqttSettingsError> {
        let url = BusUrl::parse(&settings.url, &SCHEMES)?;
        let files = TlsFiles {
            ca_file: settings.ca_file.clone(),
            cert_file: settings.cert_file.clone(),
            key_file: settings.key_file.clone(),
        };
        if !KEEP_ALIVE_S.contains(&settings.keep_alive_s) {
            return Err(MqttSettingsError::KeepAlive {
                set: settings.keep_alive_s,
            });
        }
        let tls = match url.scheme.tls {
            true => Some(files.client_config(folder)?),
            false if !files.is_empty() => return Err(MqttSettingsError::TlsUnused),
            false => None,
        };
        Ok(Self {
            user: settings.user.clone().or_else(|| url.user.clone()),
            password: settings.password(&url)?,
            url,
            tls,
            keep_alive_s: settings.keep_alive_s,
        })
    }

    /// Whether others can read on the way what is sent.
    pub(crate) fn is_exposed(&self) -> bool {
        is_exposed(&self.url)
    }

    /// The address, without secrets.
    pub fn url(&self) -> &BusUrl {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_before_anything_is_tried() {
        let check = |change: fn(&mut MqttSettings), expected: &str| {
            let mut settings = MqttSettings::at("mqtt://fog");
            change(&mut settings);
            let error = MqttServer::new(&settings, Path::new("/nonexistent")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(|s| s.url = "http://fog".into(), "broker.url");
        check(|s| s.ca_file = Some("ca.pem".into()), "mqtts://");
        check(|s| s.keep_alive_s = 0, "keep_alive_s");
        let shown = "mqtt://fog:1883: write mqtts://";
        check(|s| s.password = Some(Secret::new("hunter2")), shown);
        check(|s| s.url = "mqtt://a:hunter2@fog".into(), shown);
        check(
            |s| {
                s.url = "mqtts://fog".into();
                s.ca_file = Some("ca.pem".into());
            },
            "/nonexistent/ca.pem",
        );
    }

    #[test]
    fn a_password_goes_to_this_machine_or_encrypted() {
        let check = |url: &str, exposed: bool, password: bool| {
            let mut settings = MqttSettings::at(url);
            settings.password = password.then(|| Secret::new("hunter2"));
            let server = MqttServer::new(&settings, Path::new("/nonexistent")).unwrap();
            assert_eq!(server.is_exposed(), exposed, "{url}");
            assert_eq!(server.password.is_some(), password);
        };
        check("mqtt://127.0.0.1", false, true);
        check("mqtt://localhost", false, true);
        check("mqtt://fog", true, false);
    }
}
