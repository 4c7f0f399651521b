//! Addresses of buses: `scheme://[user[:password]@]host[:port]`.

use std::fmt;

use crate::settings::Secret;

/// A scheme that a bus speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Before `://`.
    pub name: &'static str,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The port when the address names none.
    pub default_port: u16,
}

/// The address of a bus. Shows without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct BusUrl {
    /// How to speak.
    pub scheme: Scheme,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user in the address.
    pub user: Option<String>,
    /// The password in the address.
    pub password: Option<Secret>,
}

/// An address that is none. The text is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {what}: write {example}")]
pub struct InvalidUrl {
    what: &'static str,
    example: String,
}

impl BusUrl {
    /// Reads `text`, which must have one of `schemes`.
    ///
    /// # Errors
    /// [`InvalidUrl`], with an example of a right one.
    pub fn parse(text: &str, schemes: &[Scheme]) -> Result<Self, InvalidUrl> {
        let invalid = |what| InvalidUrl {
            what,
            example: schemes
                .iter()
                .map(|s| format!("{}://host:{}", s.name, s.default_port))
                .collect::<Vec<_>>()
                .join(" or "),
        };
        let (scheme, rest) = text.split_once("://").ok_or(invalid("has no scheme"))?;
        let scheme = schemes.iter().find(|known| known.name == scheme);
        let scheme = *scheme.ok_or(invalid("has a scheme that is not spoken here"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        if place.contains(['/', '?', '#']) {
            return Err(invalid("has a path, which means nothing here"));
        }
        let (host, port) = split_port(place).ok_or(invalid("has a port that is none"))?;
        if host.is_empty() || host.chars().any(char::is_whitespace) {
            return Err(invalid("has no host"));
        }
        let decoded =
            |text: &str| percent_decode(text).ok_or(invalid("has a '%' that escapes nothing"));
        let (user, password) =
            match login.map(|l| l.split_once(':').map_or((l, None), |(u, p)| (u, Some(p)))) {
                None => (None, None),
                Some((user, None)) => (Some(decoded(user)?), None),
                Some((user, Some(password))) => {
                    (Some(decoded(user)?), Some(Secret::new(decoded(password)?)))
                }
            };
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.unwrap_or(scheme.default_port),
            user,
            password,
        })
    }

    /// Whether the host is this machine by its loopback name or address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

/// Host and port; none when there is a port that is no number from 1 to 65535.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    if port.is_empty() {
        return (!place.ends_with(':')).then_some((host, None));
    }
    match port.parse::<u16>() {
        Ok(port @ 1..) => Some((host, Some(port))),
        _ => None,
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.scheme.name;
        match self.host.contains(':') {
            true => write!(f, "{name}://[{}]:{}", self.host, self.port),
            false => write!(f, "{name}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        let check = |text: &str, shown: &str, user: Option<&str>, password: Option<&str>| {
            let url =
                BusUrl::parse(text, &SCHEMES).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.user.as_deref(), user);
            assert_eq!(url.password.as_ref().map(Secret::expose), password);
        };
        check("mqtt://fog", "mqtt://fog:1883", None, None);
        check(
            "mqtts://fog.example/",
            "mqtts://fog.example:8883",
            None,
            None,
        );
        check("mqtt://127.0.0.1:1", "mqtt://127.0.0.1:1", None, None);
        check("mqtt://[::1]", "mqtt://[::1]:1883", None, None);
        check("mqtt://[::1]:7", "mqtt://[::1]:7", None, None);
        check("mqtt://a@fog", "mqtt://fog:1883", Some("a"), None);
        check(
            "mqtt://a:b%3A%40@fog",
            "mqtt://fog:1883",
            Some("a"),
            Some("b:@"),
        );
        check(
            "mqtt://a:b@c@fog",
            "mqtt://fog:1883",
            Some("a"),
            Some("b@c"),
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "fog",
            "http://fog",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://fog:",
            "mqtt://fog:0",
            "mqtt://fog:65536",
            "mqtt://fog:x",
            "mqtt://fog/path",
            "mqtt://a%@fog",
            "mqtt://a%ff@fog",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt:// fog",
            "mqtt://é%é@fog",
        ] {
            let error = BusUrl::parse(text, &SCHEMES).expect_err(text).to_string();
            assert!(error.contains("mqtts://host:8883"), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_shows_no_password(text in "(mqtts?|http)?(://)?[^ ]{0,40}") {
            if let Ok(url) = BusUrl::parse(&text, &SCHEMES) {
                let shown = url.to_string();
                let read = BusUrl::parse(&shown, &SCHEMES).unwrap();
                proptest::prop_assert_eq!((&read.host, read.port), (&url.host, url.port));
                proptest::prop_assert!(read.password.is_none() && read.user.is_none());
            }
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        let check = |text: &str, expected: bool| {
            let url = BusUrl::parse(text, &SCHEMES).unwrap();
            assert_eq!(url.is_loopback(), expected, "{text}");
        };
        check("mqtt://localhost", true);
        check("mqtt://127.9.9.9", true);
        check("mqtt://[::1]", true);
        check("mqtt://[::ffff:127.0.0.1]", true);
        check("mqtt://0.0.0.0", false);
        check("mqtt://fog", false);
    }
}
