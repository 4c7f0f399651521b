//! The common name in a certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// DER tags of X.690, and of the string types that RFC 5280 allows in a name.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The only common name in the subject of `certificate`; none when it has none, or several.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    common_name_in(certificate.subject())
}

/// The subject is a sequence of sets of pairs of type and value.
fn common_name_in(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while !subject.is_empty() {
        let mut set = take(&mut subject, SET)?;
        while !set.is_empty() {
            let mut pair = take(&mut set, SEQUENCE)?;
            let kind = take(&mut pair, OBJECT_IDENTIFIER)?;
            if kind != COMMON_NAME {
                continue;
            }
            let value =
                take(&mut pair, UTF8_STRING).or_else(|| take(&mut pair, PRINTABLE_STRING))?;
            let name = std::str::from_utf8(value).ok()?.to_owned();
            if found.replace(name).is_some() {
                return None;
            }
        }
    }
    found
}

/// Takes one element with `tag` from the front of `bytes` and returns its contents. A name's elements
/// are short: lengths of more than two bytes are not read.
fn take<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(length)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(contents)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["host".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let named = certificate(&[
            (DnType::OrganizationName, "plant"),
            (DnType::CommonName, "edge-01"),
            (DnType::CountryName, "AT"),
        ]);
        assert_eq!(common_name(&named).as_deref(), Some("edge-01"));
        assert_eq!(common_name(&certificate(&[])), None);
        let other = certificate(&[(DnType::OrganizationName, "edge-01")]);
        assert_eq!(common_name(&other), None);
        assert_eq!(common_name(&CertificateDer::from(vec![0x30, 0x03])), None);
    }

    #[test]
    fn a_damaged_name_is_none_and_no_panic() {
        let pair = |value: &[u8]| {
            let mut inner = vec![
                OBJECT_IDENTIFIER,
                3,
                0x55,
                0x04,
                0x03,
                UTF8_STRING,
                value.len() as u8,
            ];
            inner.extend_from_slice(value);
            let mut subject = vec![SET, inner.len() as u8 + 2, SEQUENCE, inner.len() as u8];
            subject.extend(inner);
            subject
        };
        let good = pair(b"edge");
        assert_eq!(common_name_in(&good).as_deref(), Some("edge"));
        let twice = [good.clone(), pair(b"admin")].concat();
        assert_eq!(common_name_in(&twice), None);
        assert_eq!(common_name_in(&pair(b"\xff")), None);
        for end in 0..good.len() {
            assert_eq!(common_name_in(&good[..end]), None);
        }
        for index in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut damaged = good.clone();
                damaged[index] = value;
                let _ = common_name_in(&damaged);
            }
        }
    }
}
