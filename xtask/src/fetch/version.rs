//! Which nats-server releases are good enough.

use std::fmt;

/// The rule of [`Version::serves`] in words.
pub(super) const WANTED: &str = "2.11.16, 2.12.7 or 2.14.0 and newer are supported";

/// The oldest patch release of each supported older series, as (major, minor, patch).
const OLDER_SERIES: [Version; 2] = [Version(2, 11, 16), Version(2, 12, 7)];
/// From here on every release is supported.
const FIRST_OF_NEW: Version = Version(2, 14, 0);

/// Major, minor and patch of a nats-server release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the line that `nats-server --version` prints, such as `nats-server: v2.15.1`.
    pub fn parse_nats_server(line: &str) -> Option<Self> {
        let number = line.trim().strip_prefix("nats-server: v")?;
        // A pre-release suffix (`-beta.2`, `-RC.1`) counts as the release it leads to.
        let number = number.split(['-', '+', ' ']).next()?;
        let mut parts = number.split('.').map(str::parse);
        match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
            (Ok(major), Ok(minor), Ok(patch), None) => Some(Self(major, minor, patch)),
            _ => None,
        }
    }

    /// Whether Tributary runs on this release: older ones lack what its streams use, or have
    /// known vulnerabilities.
    pub fn serves(self) -> bool {
        let Self(major, minor, _) = self;
        self >= FIRST_OF_NEW
            || OLDER_SERIES
                .iter()
                .any(|oldest| (oldest.0, oldest.1) == (major, minor) && self >= *oldest)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_server_prints() {
        let check = |line: &str, expected: Option<Version>| {
            assert_eq!(Version::parse_nats_server(line), expected, "{line:?}");
        };
        check("nats-server: v2.15.1\n", Some(Version(2, 15, 1)));
        check("nats-server: v2.14.0-RC.1", Some(Version(2, 14, 0)));
        check("nats-server: v2.15", None);
        check("nats-server: v2.15.1.4", None);
        check("mosquitto version 2.0.11", None);
        check("", None);
    }

    #[test]
    fn old_series_need_their_security_release() {
        let check = |version: Version, expected: bool| {
            assert_eq!(version.serves(), expected, "{version}");
        };
        check(Version(2, 9, 10), false);
        check(Version(2, 11, 15), false);
        check(Version(2, 11, 16), true);
        check(Version(2, 12, 6), false);
        check(Version(2, 12, 7), true);
        check(Version(2, 13, 9), false);
        check(Version(2, 14, 0), true);
        check(Version(2, 15, 1), true);
        check(Version(3, 0, 0), true);
    }
}
