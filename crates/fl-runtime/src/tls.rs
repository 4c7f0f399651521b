//! Certificates and keys from files, for both buses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where a client's certificates lie; paths may be relative to the settings file's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM of the authorities to trust; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// PEM of our own certificate, with its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM of our own key.
    pub key_file: Option<PathBuf>,
}

/// Why certificates cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {setting} {}: {source}", path.display())]
    Read {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{setting} {} holds no {what} in PEM form{}", path.display(), if why.is_empty() { String::new() } else { format!(": {why}") })]
    Content {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What the parser said, if anything.
        why: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("cert_file and key_file belong together: set both or neither")]
    Unpaired,
    /// The key does not fit the certificate, or is of a kind we do not use.
    #[error("key_file {} does not fit cert_file {}: {why}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        why: String,
    },
    /// The system has no certificates to trust.
    #[error(
        "this system has no trusted certificates: set ca_file, or install the package ca-certificates"
    )]
    NoSystemRoots,
    /// The library itself refused.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsFiles {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the files, relative ones from `folder`, and checks that they fit each other.
    ///
    /// # Errors
    /// Every [`TlsError`].
    pub fn client_config(&self, folder: &Path) -> Result<Arc<ClientConfig>, TlsError> {
        let roots = match &self.ca_file {
            Some(path) => roots("ca_file", &folder.join(path))?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match (&self.cert_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let (cert, key) = (folder.join(cert), folder.join(key));
                let chain = certificates("cert_file", &cert)?;
                let private = private_key("key_file", &key)?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| mismatch(&cert, &key, &error))?
            }
            _ => return Err(TlsError::Unpaired),
        };
        Ok(Arc::new(config))
    }
}

/// The cryptography of every TLS connection of ours.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(crate) fn mismatch(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    TlsError::Mismatch {
        cert: cert.to_owned(),
        key: key.to_owned(),
        why: error.to_string(),
    }
}

pub(crate) fn roots(setting: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, path)? {
        let added = roots.add(certificate);
        added.map_err(|error| content(setting, path, "usable certificate", error.to_string()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TlsError::NoSystemRoots),
        false => Ok(roots),
    }
}

pub(crate) fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(content(setting, path, "certificate", String::new())),
        Err(error) => Err(content(setting, path, "certificate", error.to_string())),
    }
}

pub(crate) fn private_key(
    setting: &'static str,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(setting, path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| content(setting, path, "private key", error.to_string()))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        setting,
        path: path.to_owned(),
        source,
    })
}

fn content(setting: &'static str, path: &Path, what: &'static str, why: String) -> TlsError {
    TlsError::Content {
        setting,
        path: path.to_owned(),
        what,
        why,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn each_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, contents: &str| fs::write(folder.path().join(name), contents).unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a".to_owned()]).unwrap();
        let other = generate_simple_self_signed(["b".to_owned()]).unwrap();
        write("cert.pem", &cert.pem());
        write("key.pem", &signing_key.serialize_pem());
        write("other.pem", &other.signing_key.serialize_pem());
        write("empty.pem", "");

        let check = |ca: &str, cert: Option<&str>, key: Option<&str>, expected: &[&str]| {
            let files = TlsFiles {
                ca_file: Some(ca.into()),
                cert_file: cert.map(Into::into),
                key_file: key.map(Into::into),
            };
            let result = files.client_config(folder.path());
            if expected.is_empty() {
                result.unwrap();
                return;
            }
            let message = result.unwrap_err().to_string();
            for part in expected {
                assert!(message.contains(part), "{part:?} in {message}");
            }
        };
        check("cert.pem", None, None, &[]);
        check("cert.pem", Some("cert.pem"), Some("key.pem"), &[]);
        check("none.pem", None, None, &["ca_file", "none.pem"]);
        check(
            "empty.pem",
            None,
            None,
            &["ca_file", "empty.pem", "certificate"],
        );
        check(
            "key.pem",
            None,
            None,
            &["ca_file", "key.pem", "certificate"],
        );
        check("cert.pem", Some("cert.pem"), None, &["both"]);
        check(
            "cert.pem",
            Some("cert.pem"),
            Some("cert.pem"),
            &["key_file", "private key"],
        );
        check(
            "cert.pem",
            Some("cert.pem"),
            Some("other.pem"),
            &["other.pem", "does not fit"],
        );
    }
}
