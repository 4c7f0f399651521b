//! An authority for one test, and the files it issues.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use super::must;

/// An authority whose certificates lie in a folder of their own; its own is `ca.pem`.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// With a key of its own.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = named("test authority");
        let key = must("a key", KeyPair::generate());
        let certificate = must("a certificate", params.self_signed(&key));
        let folder = must("a temporary folder", tempfile::tempdir());
        must(
            "a file",
            fs::write(folder.path().join("ca.pem"), certificate.pem()),
        );
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// Issues `{name}.pem` and `{name}.key` to `name`, valid for the hosts, good for servers and clients.
    pub fn issue(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = must("hosts", CertificateParams::new(hosts));
        params.distinguished_name = named(name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = must("a key", KeyPair::generate());
        let certificate = must("a certificate", params.signed_by(&key, &self.issuer));
        let file = |ending: &str| self.path(&format!("{name}.{ending}"));
        must("a file", fs::write(file("pem"), certificate.pem()));
        must("a file", fs::write(file("key"), key.serialize_pem()));
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of that name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
