//! Who may connect to the embedded broker, and what they may publish and read.
//!
//! A device is known by its MQTT user name. It may publish under its own `up` and its own `presence`,
//! and read its own `dn` and the region's `bcast`; the fog itself may do everything in its region.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use fl_model::{DeviceId, Digest, RegionId};
use mqtt5::MqttError;
use mqtt5::broker::auth::{AuthProvider, AuthResult, PasswordAuthProvider};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::types::ReasonCode;
use tokio::sync::Semaphore;

use super::BrokerError;
use super::front::Peers;
use crate::settings::Secret;

/// The fog's own user; no device may have a name that begins so.
pub(super) const OWN_USER: &str = "_fog";

/// How every hash in a password file begins.
const HASH_PREFIX: &str = "$argon2id$";

/// Passwords that are hashed at once: each takes 19 MiB and a while.
const HASHING_MAX: usize = 2;

/// How clients come in.
pub(super) enum Door {
    /// Plainly, from this machine.
    Loopback,
    /// Through the front, which has decrypted and knows the certificates.
    Encrypted {
        /// Who came through it.
        peers: Arc<Peers>,
    },
}

/// Decides for the broker.
pub(super) struct Access {
    region_root: String,
    own_secret: Secret,
    door: Door,
    passwords: Option<Arc<Passwords>>,
    hashing: Semaphore,
}

/// Hashes by device.
pub(super) struct Passwords(BTreeMap<String, String>);

impl Passwords {
    pub(super) fn read(path: &Path) -> Result<Self, BrokerError> {
        let wrong = |why: String| BrokerError::Passwords {
            path: path.to_owned(),
            why,
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut hashes = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let (device, hash) = line
                .split_once(':')
                .ok_or_else(|| wrong(format!("line {number} is not device:hash")))?;
            DeviceId::new(device).map_err(|error| wrong(format!("line {number}: {error}")))?;
            if !hash.starts_with(HASH_PREFIX) {
                return Err(wrong(format!(
                    "line {number}: what follows {device:?} is no argon2id hash; make one with the password command"
                )));
            }
            if hashes.insert(device.to_owned(), hash.to_owned()).is_some() {
                return Err(wrong(format!("line {number}: {device:?} is there twice")));
            }
        }
        Ok(Self(hashes))
    }

    fn verify(&self, device: &str, password: &[u8]) -> bool {
        let Ok(password) = std::str::from_utf8(password) else {
            return false;
        };
        self.0
            .get(device)
            .is_some_and(|hash| PasswordAuthProvider::verify_password(password, hash))
    }
}

impl Access {
    pub(super) fn new(
        region: &RegionId,
        own_secret: Secret,
        door: Door,
        passwords: Option<Passwords>,
    ) -> Self {
        Self {
            region_root: format!("fl/1/{region}/"),
            own_secret,
            door,
            passwords: passwords.map(Arc::new),
            hashing: Semaphore::new(HASHING_MAX),
        }
    }

    /// The user, or what is wrong with the login.
    async fn admit(
        &self,
        connect: &ConnectPacket,
        address: SocketAddr,
    ) -> Result<String, (ReasonCode, &'static str)> {
        let refused = |why| Err((ReasonCode::BadUsernameOrPassword, why));
        let Some(user) = &connect.username else {
            return refused("no user name");
        };
        if !is_client_id_of(&connect.client_id, user) {
            return Err((
                ReasonCode::ClientIdentifierNotValid,
                "a client id that is not the user's own",
            ));
        }
        let password = connect.password.as_deref();
        if user == OWN_USER {
            let ours = Digest::of(self.own_secret.expose().as_bytes());
            return match password.map(Digest::of) == Some(ours) {
                true => Ok(user.clone()),
                false => refused("not the fog's secret"),
            };
        }
        if DeviceId::new(user).is_err() {
            return refused("a user name that no device can have");
        }
        let mut known_by_certificate = false;
        if let Door::Encrypted { peers } = &self.door {
            let Some(peer) = peers.get(&address) else {
                return refused("a connection past the TLS port");
            };
            match peer.common_name {
                Some(name) if name == *user => known_by_certificate = true,
                Some(_) => return refused("a certificate with another common name"),
                None => {}
            }
        }
        if !known_by_certificate && !self.password_fits(user, password).await {
            return refused("a wrong or missing password");
        }
        Ok(user.clone())
    }

    async fn password_fits(&self, user: &str, password: Option<&[u8]>) -> bool {
        let Some(passwords) = self.passwords.clone() else {
            // Reached on loopback only: elsewhere the settings or the TLS handshake demanded one of
            // password and certificate.
            return true;
        };
        let Some(password) = password.map(<[u8]>::to_vec) else {
            return false;
        };
        let Ok(_permit) = self.hashing.acquire().await else {
            return false;
        };
        let user = user.to_owned();
        tokio::task::spawn_blocking(move || passwords.verify(&user, &password))
            .await
            .unwrap_or(false)
    }

    fn may_publish(&self, user: &str, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix(&self.region_root) else {
            return false;
        };
        if user == OWN_USER {
            return true;
        }
        own_part(rest, user).is_some_and(|own| own == "presence" || own.starts_with("up/"))
    }

    fn may_subscribe(&self, user: &str, filter: &str) -> bool {
        let Some(rest) = filter.strip_prefix(&self.region_root) else {
            return false;
        };
        if user == OWN_USER || rest.starts_with("bcast/") {
            return true;
        }
        own_part(rest, user).is_some_and(|own| own.starts_with("dn/"))
    }
}

/// What follows `d/{user}/`.
fn own_part<'a>(rest: &'a str, user: &str) -> Option<&'a str> {
    rest.strip_prefix("d/")?
        .strip_prefix(user)?
        .strip_prefix('/')
}

/// A client id is its user's name, or that and a dot and more: nobody can take another's session over.
fn is_client_id_of(client_id: &str, user: &str) -> bool {
    client_id
        .strip_prefix(user)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Access {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        client_addr: SocketAddr,
    ) -> Answer<'a, Result<AuthResult, MqttError>> {
        Box::pin(async move {
            Ok(match self.admit(connect, client_addr).await {
                Ok(user) => AuthResult::success_with_user(user),
                Err((code, why)) => {
                    tracing::warn!(
                        user = connect.username.as_deref().unwrap_or("none"),
                        client_id = connect.client_id,
                        "the broker refused a client: {why}"
                    );
                    AuthResult::fail(code)
                }
            })
        })
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = user_id.is_some_and(|user| self.may_publish(user, topic));
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = user_id.is_some_and(|user| self.may_subscribe(user, topic_filter));
        if !allowed {
            tracing::warn!(
                user = user_id.unwrap_or("none"),
                "the broker refused a subscription to {topic_filter}"
            );
        }
        Box::pin(std::future::ready(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_to_its_own_topics() {
        let region = RegionId::new("north").unwrap();
        let access = Access::new(&region, Secret::new("s"), Door::Loopback, None);
        let publish = |user: &str, topic: &str, expected: bool| {
            assert_eq!(access.may_publish(user, topic), expected, "{user} {topic}");
        };
        publish("a", "fl/1/north/d/a/up/hello", true);
        publish("a", "fl/1/north/d/a/presence", true);
        publish("a", "fl/1/north/d/a/presence/x", false);
        publish("a", "fl/1/north/d/a/dn/welcome", false);
        publish("a", "fl/1/north/d/ab/up/hello", false);
        publish("ab", "fl/1/north/d/a/up/hello", false);
        publish("a", "fl/1/south/d/a/up/hello", false);
        publish("a", "fl/1/north/bcast/plan/j", false);
        publish("a", "fl/1/north/d/a/up", false);
        publish(OWN_USER, "fl/1/north/bcast/plan/j", true);
        publish(OWN_USER, "fl/1/south/bcast/plan/j", false);

        let subscribe = |user: &str, filter: &str, expected: bool| {
            assert_eq!(
                access.may_subscribe(user, filter),
                expected,
                "{user} {filter}"
            );
        };
        subscribe("a", "fl/1/north/d/a/dn/#", true);
        subscribe("a", "fl/1/north/bcast/#", true);
        subscribe("a", "fl/1/north/bcast/plan/+", true);
        subscribe("a", "fl/1/north/d/+/dn/#", false);
        subscribe("a", "fl/1/north/d/b/dn/#", false);
        subscribe("a", "fl/1/north/#", false);
        subscribe("a", "fl/1/+/bcast/#", false);
        subscribe("a", "#", false);
        subscribe("a", "$share/g/fl/1/north/bcast/#", false);
        subscribe("a", "fl/1/north/d/a/up/#", false);
        subscribe("a", "fl/1/north/bcast", false);
        subscribe(OWN_USER, "fl/1/north/d/+/up/#", true);
        subscribe(OWN_USER, "fl/1/#", false);
    }

    #[test]
    fn a_client_id_belongs_to_its_user() {
        let check = |id: &str, user: &str, expected: bool| {
            assert_eq!(is_client_id_of(id, user), expected, "{id} {user}");
        };
        check("a", "a", true);
        check("a.2", "a", true);
        check("ab", "a", false);
        check("", "a", false);
        check("b", "a", false);
    }

    #[test]
    fn a_password_file_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        let hash = super::super::hash_password("right").unwrap();
        let check = |text: &str, expected: Option<&str>| {
            fs::write(&path, text).unwrap();
            match (Passwords::read(&path), expected) {
                (Ok(passwords), None) => Some(passwords),
                (Err(error), Some(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                    None
                }
                _ => panic!("{text}"),
            }
        };
        let passwords = check(&format!("# devices\n\na:{hash}\n"), None).unwrap();
        assert!(passwords.verify("a", b"right"));
        assert!(!passwords.verify("a", b"wrong"));
        assert!(!passwords.verify("a", b"\xff"));
        assert!(!passwords.verify("b", b"right"));
        check("a", Some("line 1"));
        check("\na:plain", Some("line 2"));
        check(&format!("_fog:{hash}"), Some("line 1"));
        check(&format!("a:{hash}\na:{hash}"), Some("twice"));
    }
}
