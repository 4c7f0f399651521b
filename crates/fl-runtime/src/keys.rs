//! The key by which a process is known.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use fl_model::{MemberId, RegionId, Role};
use serde::Deserialize;

use crate::store::{Access, StoreError, write_atomic};

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 64;

/// Permission bits of group and others.
const FOREIGN_MODE: u32 = 0o077;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read or write the file.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 on it, or make a new key if it was exposed", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("{} does not hold a key: expected {KEY_DIGITS} hexadecimal digits; restore it from a backup, or remove it to make a new key and enrol again", path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// There is no key file.
    #[error("{} does not exist: make a key with the init command", path.display())]
    Missing {
        /// The key file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The new key cannot be written.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// Text that is not a public key.
    #[error(
        "{shown:?} is not a public key: expected {KEY_DIGITS} hexadecimal digits of an ed25519 key"
    )]
    InvalidPublicKey {
        /// The text, cut to what fits a line.
        shown: String,
    },
}

/// The key in `path`; a new one is made and written (0600) when there is none.
///
/// # Errors
/// Every [`KeyError`] but a missing file.
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    match load(path) {
        Err(KeyError::Missing { .. }) => {
            let key = SigningKey::from_bytes(&rand::random());
            let text = format!("{}\n", hex(key.as_bytes()));
            write_atomic(path, text.as_bytes(), Access::Owner)?;
            Ok(key)
        }
        result => result,
    }
}

/// The key in `path`.
///
/// # Errors
/// Every [`KeyError`]; [`KeyError::Exposed`] when anyone but the owner may read or write the file.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing {
            path: path.to_owned(),
        },
        _ => KeyError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & FOREIGN_MODE != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = fs::read(path).map_err(failed)?;
    let seed = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| from_hex(text.trim_end()));
    let seed = seed.ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
    })?;
    Ok(SigningKey::from_bytes(&seed))
}

/// A public key as it stands in settings and the roster: 64 hexadecimal digits.
pub fn public_hex(key: &VerifyingKey) -> String {
    hex(key.as_bytes())
}

/// Reads what [`public_hex`] wrote.
///
/// # Errors
/// [`KeyError::InvalidPublicKey`], also for a weak key.
pub fn parse_public_hex(text: &str) -> Result<VerifyingKey, KeyError> {
    from_hex(text)
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        .filter(|key| !key.is_weak())
        .ok_or_else(|| KeyError::InvalidPublicKey {
            shown: text.chars().take(KEY_DIGITS + 8).collect(),
        })
}

/// The `root` section of a settings file: whom a process believes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSettings {
    /// The root's public key, 64 hexadecimal digits: what another has signed is ignored.
    pub public_key: String,
}

/// A pinned key that is none.
#[derive(Debug, thiserror::Error)]
#[error("root.public_key: {0}; take what `cloud-root init` printed")]
pub struct RootKeyError(#[source] KeyError);

impl RootSettings {
    /// The pinned key.
    ///
    /// # Errors
    /// [`RootKeyError`].
    pub fn key(&self) -> Result<VerifyingKey, RootKeyError> {
        parse_public_hex(&self.public_key).map_err(RootKeyError)
    }
}

/// The command that takes a member in, for whoever keeps the root: it can be pasted as it is where
/// CLOUD_ROOT_HOME names the root's home.
pub fn enrol_command(
    member: &MemberId,
    key: &VerifyingKey,
    role: Role,
    region: &RegionId,
) -> String {
    let (key, role) = (public_hex(key), role.as_str());
    format!("cloud-root roster add {member} {key} --role {role} --region {region}")
}

fn hex(bytes: &[u8; 32]) -> String {
    fl_model::Digest(*bytes).to_string()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    text.parse::<fl_model::Digest>().ok().map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_belongs_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(load(&path), Err(KeyError::Missing { .. })));
        let key = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), key);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(
            error.contains("mode 644") && error.contains("chmod 600"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for contents in [&b""[..], b"abc", b"\xff\xfe", &[b'g'; 64]] {
            write_atomic(&path, contents, Access::Owner).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn a_public_key_reads_back_as_it_prints() {
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        assert_eq!(parse_public_hex(&public_hex(&key)).unwrap(), key);
        let weak = "0".repeat(KEY_DIGITS);
        for bad in ["", "abc", &weak, &"g".repeat(KEY_DIGITS)] {
            assert!(parse_public_hex(bad).is_err(), "{bad}");
        }
    }
}
