//! Byte strings, and arrays of numbers as tagged byte strings (RFC 8746).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_cbor::tags::{Tagged, current_cbor_tag};

pub(crate) const TAG_U64_LE: u64 = 71;
pub(crate) const TAG_I16_LE: u64 = 77;
pub(crate) const TAG_I32_LE: u64 = 78;
pub(crate) const TAG_I64_LE: u64 = 79;
pub(crate) const TAG_F32_LE: u64 = 85;

/// A byte string.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_bytes(deserializer, |bytes| Ok(Self(bytes.to_vec())))
    }
}

/// A number that stands in typed arrays.
pub(crate) trait Element: Copy {
    /// RFC 8746's tag; none where it has none and the array is a plain byte string.
    const TAG: Option<u64>;
    /// Bytes of an element.
    const BYTES: usize;
    fn write(self, into: &mut Vec<u8>);
    /// Reads exactly [`Self::BYTES`] bytes; none of another length.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! elements {
    ($($type:ty, $tag:expr;)*) => {$(
        impl Element for $type {
            const TAG: Option<u64> = $tag;
            const BYTES: usize = size_of::<$type>();
            fn write(self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            }
        }
    )*};
}

elements! {
    u64, Some(TAG_U64_LE);
    i16, Some(TAG_I16_LE);
    i32, Some(TAG_I32_LE);
    i64, Some(TAG_I64_LE);
    f32, Some(TAG_F32_LE);
    i128, None;
}

fn to_bytes<T: Element>(values: impl ExactSizeIterator<Item = T>) -> Bytes {
    let mut bytes = Vec::with_capacity(values.len() * T::BYTES);
    values.for_each(|value| value.write(&mut bytes));
    Bytes(bytes)
}

fn from_bytes<T: Element>(bytes: &[u8]) -> Option<Vec<T>> {
    let whole = bytes.len().is_multiple_of(T::BYTES);
    whole.then(|| bytes.chunks_exact(T::BYTES).filter_map(T::read).collect())
}

/// An array of numbers, little endian, under its RFC 8746 tag where it has one.
pub(crate) struct Typed<T>(pub(crate) Vec<T>);

impl<T: Element> Serialize for Typed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = to_bytes(self.0.iter().copied());
        match T::TAG {
            Some(tag) => Tagged::new(Some(tag), bytes).serialize(serializer),
            None => bytes.serialize(serializer),
        }
    }
}

impl<'de, T: Element> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_tagged(deserializer, |tag, bytes| {
            let values = from_bytes(bytes).filter(|_| tag == T::TAG);
            values.map(Self).ok_or("a typed array of other elements")
        })
    }
}

/// An integer of 128 bits, as a byte string of 16 bytes in little endian.
pub(crate) struct Wide(pub(crate) i128);

impl Serialize for Wide {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_le_bytes())
    }
}

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_bytes(deserializer, |bytes| {
            i128::read(bytes)
                .map(Self)
                .ok_or("not a number of 16 bytes")
        })
    }
}

/// Integers on the grid, as 16 bits each where all of them fit and as 32 otherwise.
pub(crate) struct Integers(pub(crate) Vec<i32>);

impl Serialize for Integers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let narrow = |value: &i32| i16::try_from(*value).is_ok();
        let tagged = if self.0.iter().all(narrow) {
            let bytes = to_bytes(self.0.iter().map(|&value| value as i16));
            Tagged::new(i16::TAG, bytes)
        } else {
            Tagged::new(i32::TAG, to_bytes(self.0.iter().copied()))
        };
        tagged.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Integers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_tagged(deserializer, |tag, bytes| {
            let values = match tag {
                Some(TAG_I16_LE) => {
                    let widen = |values: Vec<i16>| values.into_iter().map(i32::from).collect();
                    from_bytes(bytes).map(widen)
                }
                Some(TAG_I32_LE) => from_bytes(bytes),
                _ => None,
            };
            values.map(Self).ok_or("a typed array of other elements")
        })
    }
}

/// Reads a byte string without a tag.
fn read_bytes<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, D::Error> {
    read_tagged(deserializer, |tag, bytes| match tag {
        None => read(bytes),
        Some(_) => Err("a typed array in place of a byte string"),
    })
}

/// Reads a byte string with or without a tag.
fn read_tagged<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(Option<u64>, &[u8]) -> Result<T, &'static str>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(BytesVisitor {
        tag: None,
        read,
        gives: PhantomData,
    })
}

struct BytesVisitor<R, T> {
    tag: Option<u64>,
    read: R,
    gives: PhantomData<T>,
}

impl<'de, R, T> Visitor<'de> for BytesVisitor<R, T>
where
    R: FnOnce(Option<u64>, &[u8]) -> Result<T, &'static str>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.read)(self.tag, bytes).map_err(E::custom)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        if self.tag.is_some() {
            return Err(D::Error::custom("a tag on a tag"));
        }
        let tag = current_cbor_tag();
        deserializer.deserialize_any(Self { tag, ..self })
    }
}
