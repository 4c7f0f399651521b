//! CBOR through serde: every domain type has a mirror that says how it is written.
//!
//! A mirror is written by `serde_cbor` in its packed form: structures are maps keyed by the position
//! of the field, variants without fields are their position, and variants with fields are a map from
//! their position to a map. Positions are the protocol, so mirrors are only ever appended to.
//! Reading runs the strict pass first, and afterwards compares the bytes with what this build would
//! have written for the same value: there is exactly one encoding of anything.

pub(crate) mod arrays;
mod macros;
mod scalars;
pub(crate) mod strict;

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_cbor::de::Deserializer;
use serde_cbor::ser::{IoWrite, Serializer};

use crate::error::WireError;
pub(crate) use macros::{list_of_mirrors, mirror_enum, mirror_struct};

/// A type of the domain that has a form on the wire.
pub(crate) trait Wire: Sized {
    /// What it is called in messages for people.
    const NAME: &'static str;
    /// Its form.
    type Mirror: Serialize + DeserializeOwned;
    /// The form of a list of it: a typed array for numbers, a list of mirrors for all else.
    type MirrorList: Serialize + DeserializeOwned;

    fn mirror(&self) -> Self::Mirror;
    fn from_mirror(mirror: Self::Mirror) -> Result<Self, WireError>;
    fn mirror_list(list: &[Self]) -> Self::MirrorList;
    fn from_mirror_list(list: Self::MirrorList) -> Result<Vec<Self>, WireError>;
}

/// Writes a value in its one deterministic encoding. Refuses a value that would not be read again.
pub(crate) fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, WireError> {
    let mirror = value.mirror();
    let mut bytes = Vec::new();
    write(&mirror, &mut bytes).map_err(|error| undecodable::<T>(&error))?;
    strict::check(&bytes).map_err(malformed::<T>)?;
    T::from_mirror(mirror)?;
    Ok(bytes)
}

/// Reads a value that is in its one deterministic encoding.
pub(crate) fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    strict::check(bytes).map_err(malformed::<T>)?;
    let mut deserializer = Deserializer::from_slice(bytes)
        .disable_named_format()
        .disable_legacy_enums();
    let mirror: T::Mirror =
        serde::Deserialize::deserialize(&mut deserializer).map_err(|e| undecodable::<T>(&e))?;
    deserializer.end().map_err(|e| undecodable::<T>(&e))?;
    let mut same = Same { rest: bytes };
    write(&mirror, &mut same).map_err(|_| WireError::Body {
        what: T::NAME,
        problem: format!(
            "byte {} is not as this version writes it",
            bytes.len() - same.rest.len()
        ),
    })?;
    T::from_mirror(mirror)
}

fn write(mirror: &impl Serialize, into: impl io::Write) -> Result<(), serde_cbor::Error> {
    mirror.serialize(&mut Serializer::new(IoWrite::new(into)).packed_format())
}

fn malformed<T: Wire>(error: crate::error::CborError) -> WireError {
    WireError::Cbor {
        what: T::NAME,
        error,
    }
}

fn undecodable<T: Wire>(error: &serde_cbor::Error) -> WireError {
    WireError::Body {
        what: T::NAME,
        problem: error.to_string(),
    }
}

/// Takes only the bytes that it already has.
struct Same<'a> {
    rest: &'a [u8],
}

impl io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => {
                self.rest = rest;
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
