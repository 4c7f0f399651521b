//! Names, numbers and digests that identify what takes part in a federation.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Longest name of a job, region, device or fog, in bytes.
pub const NAME_BYTES_MAX: usize = 48;

/// A name that cannot stand in a topic, a subject or a file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} name {name:?} is not allowed: use 1 to 48 letters, digits, '-' or '_', starting with a letter or digit"
)]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

fn check_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let bytes = name.as_bytes();
    let ok = bytes.len() <= NAME_BYTES_MAX
        && bytes.iter().all(|&b| allowed(b))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    if ok {
        return Ok(());
    }
    let shown = name.chars().take(NAME_BYTES_MAX).collect();
    Err(InvalidName { what, name: shown })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes a name that is safe in topics, subjects and file names.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                check_name($what, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }
    };
}

name_type!(
    /// A training job of the federation.
    JobId,
    "job"
);
name_type!(
    /// A region: the devices that one fog-aggregator serves.
    RegionId,
    "region"
);
name_type!(
    /// A member of the roster: a device or a fog; also the sender of a message.
    MemberId,
    "member"
);

/// A device is a member whose role is device.
pub type DeviceId = MemberId;

/// The name under which the root signs; no member may take it.
pub const ROOT_NAME: &str = "root";

/// The round of a job. Round 0 gathers statistics; training starts at round 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RoundNumber(pub u32);

impl RoundNumber {
    /// The round after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RoundNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Raised whenever a root takes a job over; fogs and devices refuse a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a round asks of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Counts, sums and sums of squares per feature.
    Statistics,
    /// Local training and a model update.
    Train,
    /// Integer counters of how well the global model does.
    Evaluate,
}

impl Phase {
    /// Every phase, in the order in which a job goes through them.
    pub const ALL: [Phase; 3] = [Phase::Statistics, Phase::Train, Phase::Evaluate];

    /// The phase as it stands in subjects, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Statistics => "statistics",
            Phase::Train => "train",
            Phase::Evaluate => "evaluate",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One phase of one round of one job.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundKey {
    /// The job.
    pub job: JobId,
    /// Its round.
    pub round: RoundNumber,
    /// What the round asks for.
    pub phase: Phase,
}

impl fmt::Display for RoundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.round, self.phase)
    }
}

impl fmt::Debug for RoundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits, got {0} characters that are not")]
pub struct InvalidDigest(usize);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = InvalidDigest(text.chars().count());
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |b: u8| (b as char).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(invalid);
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

/// An object that is fetched by what it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Exact length in bytes.
    pub bytes: u64,
}

impl ObjectRef {
    /// The reference of `bytes`.
    pub fn to(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
        }
    }
}

/// A W3C trace context: what a span of this round hangs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// The round's trace.
    pub trace_id: [u8; 16],
    /// The round's span.
    pub span_id: [u8; 8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere_they_stand() {
        let check = |name: &str, allowed: bool| {
            assert_eq!(DeviceId::new(name).is_ok(), allowed, "{name:?}");
        };
        check("edge-01", true);
        check("7", true);
        check(&"a".repeat(NAME_BYTES_MAX), true);
        check(&"a".repeat(NAME_BYTES_MAX + 1), false);
        for bad in [
            "", "-a", "a/b", "a.b", "a b", "+", "#", "*", ">", "ü", "a\0",
        ] {
            check(bad, false);
        }
    }

    #[test]
    fn a_digest_reads_back_as_it_prints() {
        let digest = Digest::of(b"");
        let text = digest.to_string();
        assert!(text.starts_with("e3b0c442"));
        assert_eq!(text.parse(), Ok(digest));
        assert!("e3".parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
