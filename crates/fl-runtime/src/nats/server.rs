//! Which server, and how to log in there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{ANSWER_S, NatsError, SUBSCRIPTION_MAX};
use crate::backoff::Backoff;
use crate::settings::Secret;
use crate::tls::TlsFiles;
use crate::url::{BusUrl, Scheme};

/// How long one attempt to connect may take, in seconds.
pub(super) const CONNECT_S: u64 = 5;

/// Between signs of life, in seconds; two missed ones end the connection.
const PING_S: u64 = 5;

/// Longest wait between attempts to connect again, in milliseconds.
const RECONNECT_MS_MAX: u64 = 2_000;

const SCHEMES: [Scheme; 2] = [
    Scheme {
        name: "nats",
        tls: false,
        default_port: 4222,
    },
    Scheme {
        name: "tls",
        tls: true,
        default_port: 4222,
    },
];

/// Which server: the `nats` section of a settings file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// `nats://host:4222` or `tls://host:4222`; several servers of a cluster, separated by commas.
    pub url: String,
    /// User, with a password.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of the user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Token, instead of a user.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Credentials file with JWT and seed, instead of a user.
    #[serde(default)]
    pub creds_file: Option<PathBuf>,
    /// PEM of the authorities to trust with `tls`; the system's when there is none.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate, when the server wants one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl NatsSettings {
    /// Only an address; nothing else set.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            token: None,
            creds_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// A server to connect to, with everything that was read from files.
#[derive(Clone)]
pub struct NatsServer {
    pub(super) urls: Vec<BusUrl>,
    login: Login,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone)]
enum Login {
    Nobody,
    User(String, Secret),
    Token(Secret),
    Credentials(Secret),
}

impl NatsServer {
    /// Checks `settings` and reads the files they name, relative ones from `folder`.
    ///
    /// # Errors
    /// Every [`NatsError`] but those of the server itself.
    pub fn new(settings: &NatsSettings, folder: &Path) -> Result<Self, NatsError> {
        let urls: Result<Vec<_>, _> = settings
            .url
            .split(',')
            .map(|url| BusUrl::parse(url.trim(), &SCHEMES))
            .collect();
        let urls = urls?;
        let encrypted = urls.iter().filter(|url| url.scheme.tls).count();
        if encrypted != 0 && encrypted != urls.len() {
            return Err(NatsError::MixedSchemes);
        }
        let files = TlsFiles {
            ca_file: settings.ca_file.clone(),
            cert_file: settings.cert_file.clone(),
            key_file: settings.key_file.clone(),
        };
        let tls = match encrypted {
            0 if !files.is_empty() => return Err(NatsError::TlsUnused),
            0 => None,
            _ => Some(files.client_config(folder)?),
        };
        let login = login(settings, &urls, folder)?;
        Ok(Self { urls, login, tls })
    }

    /// The addresses, without secrets.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.urls.iter().map(BusUrl::to_string).collect();
        urls.join(",")
    }

    pub(super) fn options(&self, name: &str) -> Result<ConnectOptions, NatsError> {
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(CONNECT_S))
            .request_timeout(Some(Duration::from_secs(ANSWER_S)))
            .ping_interval(Duration::from_secs(PING_S))
            .subscription_capacity(SUBSCRIPTION_MAX)
            .reconnect_delay_callback(reconnect_delay);
        let options = match &self.tls {
            Some(tls) => options
                .require_tls(true)
                .tls_client_config(ClientConfig::clone(tls)),
            None => options,
        };
        Ok(match &self.login {
            Login::Nobody => options,
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Login::Token(token) => options.token(token.expose().to_owned()),
            Login::Credentials(text) => {
                let parsed = options.credentials(text.expose());
                parsed.map_err(|source| NatsError::Credentials {
                    path: PathBuf::new(),
                    source,
                })?
            }
        })
    }
}

fn login(settings: &NatsSettings, urls: &[BusUrl], folder: &Path) -> Result<Login, NatsError> {
    let in_url = urls.first();
    let user = settings
        .user
        .clone()
        .or_else(|| in_url.and_then(|url| url.user.clone()));
    let password = settings
        .password
        .clone()
        .or_else(|| in_url.and_then(|url| url.password.clone()));
    match (user, password, &settings.token, &settings.creds_file) {
        (None, None, None, None) => Ok(Login::Nobody),
        (Some(user), Some(password), None, None) => Ok(Login::User(user, password)),
        (None, None, Some(token), None) => Ok(Login::Token(token.clone())),
        (None, None, None, Some(path)) => {
            let path = folder.join(path);
            let wrong = |source| NatsError::Credentials {
                path: path.clone(),
                source,
            };
            let text = std::fs::read_to_string(&path).map_err(wrong)?;
            ConnectOptions::new().credentials(&text).map_err(wrong)?;
            Ok(Login::Credentials(Secret::new(text)))
        }
        _ => Err(NatsError::Login),
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let mut backoff = Backoff::new();
    for _ in 2..attempts.min(8) {
        backoff.next_wait();
    }
    backoff
        .next_wait()
        .min(Duration::from_millis(RECONNECT_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_before_anything_is_tried() {
        let check = |change: fn(&mut NatsSettings), expected: Option<&str>| {
            let mut settings = NatsSettings::at("nats://root:4222");
            change(&mut settings);
            let result = NatsServer::new(&settings, Path::new("/nonexistent"));
            match (result, expected) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
                (Ok(_), Some(part)) => panic!("{settings:?} should fail with {part}"),
                (Err(error), None) => panic!("{settings:?}: {error}"),
            }
        };
        check(|_| {}, None);
        check(|s| s.url = "nats://a,nats://b:4333".into(), None);
        check(|s| s.url = "nats://u:p@a".into(), None);
        check(|s| s.url = "nats://a,tls://b".into(), Some("mixes"));
        check(|s| s.url = "mqtt://a".into(), Some("nats.url"));
        check(|s| s.ca_file = Some("ca.pem".into()), Some("tls://"));
        check(|s| s.user = Some("u".into()), Some("exactly one"));
        check(
            |s| {
                s.url = "nats://u:p@a".into();
                s.token = Some(Secret::new("t"));
            },
            Some("exactly one"),
        );
        check(
            |s| s.creds_file = Some("x.creds".into()),
            Some("/nonexistent/x.creds"),
        );
    }

    #[test]
    fn waits_before_connecting_again_are_bounded() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempts in 2..40 {
            assert!(reconnect_delay(attempts) <= Duration::from_millis(RECONNECT_MS_MAX));
        }
    }
}
