//! The pass over foreign bytes before anything decodes them: is this the one deterministic encoding?

use crate::error::{CborError, CborFault};
use crate::limits::{DEPTH_MAX, MAP_KEYS_MAX};

/// Tags of RFC 8746 typed arrays that we use, with the bytes of an element.
const TYPED_ARRAYS: [(u64, usize); 5] = [
    (super::arrays::TAG_U64_LE, 8),
    (super::arrays::TAG_I16_LE, 2),
    (super::arrays::TAG_I32_LE, 4),
    (super::arrays::TAG_I64_LE, 8),
    (super::arrays::TAG_F32_LE, 4),
];

const MAJOR_UNSIGNED: u8 = 0;
const MAJOR_NEGATIVE: u8 = 1;
const MAJOR_BYTES: u8 = 2;
const MAJOR_TEXT: u8 = 3;
const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;
const MAJOR_TAG: u8 = 6;

/// Refuses everything but one item in RFC 8949 core deterministic encoding, within our limits.
///
/// Byte strings are skipped, not looked into. Neither allocates nor recurses deeper than
/// [`DEPTH_MAX`]; takes time linear in the input's length.
pub(crate) fn check(bytes: &[u8]) -> Result<(), CborError> {
    let end = Checker { bytes }.item(0, DEPTH_MAX)?;
    if end == bytes.len() {
        return Ok(());
    }
    Err(CborError {
        offset: end,
        fault: CborFault::TrailingBytes,
    })
}

/// The byte string that opens an array of four, of bytes that [`check`] has passed.
pub(crate) fn first_of_four(bytes: &[u8]) -> Option<&[u8]> {
    const ARRAY_OF_FOUR: u8 = MAJOR_ARRAY << 5 | 4;
    let head = Checker { bytes }.head(1).ok()?;
    let opens = bytes.first() == Some(&ARRAY_OF_FOUR) && head.major == MAJOR_BYTES;
    let end = head
        .next
        .checked_add(usize::try_from(head.argument).ok()?)?;
    bytes.get(head.next..end).filter(|_| opens)
}

struct Checker<'a> {
    bytes: &'a [u8],
}

/// The first byte of an item and the number that goes with it.
struct Head {
    major: u8,
    info: u8,
    argument: u64,
    /// Offset of what follows.
    next: usize,
}

impl Checker<'_> {
    /// Checks the item at `at` and returns where it ends.
    fn item(&self, at: usize, depth: usize) -> Result<usize, CborError> {
        let fail = |fault| CborError { offset: at, fault };
        let head = self.head(at)?;
        match head.major {
            MAJOR_UNSIGNED | MAJOR_NEGATIVE => Ok(head.next),
            MAJOR_BYTES => self.skip(at, &head),
            MAJOR_TEXT => {
                let end = self.skip(at, &head)?;
                std::str::from_utf8(&self.bytes[head.next..end])
                    .map_err(|_| fail(CborFault::NotUtf8))?;
                Ok(end)
            }
            MAJOR_ARRAY => {
                let inner = depth.checked_sub(1).ok_or(fail(CborFault::TooDeep))?;
                let count = self.count(at, &head, 1)?;
                (0..count).try_fold(head.next, |next, _| self.item(next, inner))
            }
            MAJOR_MAP => self.map(at, &head, depth),
            MAJOR_TAG => self.tag(at, &head),
            _ => self.simple(at, &head),
        }
    }

    fn head(&self, at: usize) -> Result<Head, CborError> {
        let fail = |fault| CborError { offset: at, fault };
        let first = *self.bytes.get(at).ok_or(fail(CborFault::Truncated))?;
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => 0,
            24..=27 => 1 << (info - 24),
            28..=30 => return Err(fail(CborFault::Simple)),
            _ => return Err(fail(CborFault::Indefinite)),
        };
        let follows = self.bytes.get(at + 1..at + 1 + width);
        let follows = follows.ok_or(fail(CborFault::Truncated))?;
        let argument = match width {
            0 => u64::from(info),
            _ => follows.iter().fold(0, |sum, &b| sum << 8 | u64::from(b)),
        };
        let least = match width {
            0 => 0,
            1 => 24,
            _ => 1 << (4 * width),
        };
        let is_float = major > MAJOR_TAG;
        if argument < least && !is_float {
            return Err(fail(CborFault::NotMinimal));
        }
        Ok(Head {
            major,
            info,
            argument,
            next: at + 1 + width,
        })
    }

    /// Where the string with this head ends.
    fn skip(&self, at: usize, head: &Head) -> Result<usize, CborError> {
        Ok(head.next + self.count(at, head, 1)?)
    }

    /// The head's count, when that many items of at least `bytes_each` can follow.
    fn count(&self, at: usize, head: &Head, bytes_each: usize) -> Result<usize, CborError> {
        let room = (self.bytes.len() - head.next) / bytes_each;
        let count = usize::try_from(head.argument).ok();
        count.filter(|&count| count <= room).ok_or(CborError {
            offset: at,
            fault: CborFault::LengthBeyondEnd,
        })
    }

    fn map(&self, at: usize, head: &Head, depth: usize) -> Result<usize, CborError> {
        let fail = |offset, fault| CborError { offset, fault };
        let inner = depth.checked_sub(1).ok_or(fail(at, CborFault::TooDeep))?;
        if head.argument > MAP_KEYS_MAX as u64 {
            return Err(fail(at, CborFault::TooManyKeys));
        }
        let count = self.count(at, head, 2)?;
        let mut next = head.next;
        let mut before: Option<&[u8]> = None;
        for _ in 0..count {
            let key_at = next;
            let key = self.head(key_at)?;
            if key.major > MAJOR_NEGATIVE {
                return Err(fail(key_at, CborFault::KeyNotInteger));
            }
            let encoded = &self.bytes[key_at..key.next];
            match before.map(|before| before.cmp(encoded)) {
                None | Some(std::cmp::Ordering::Less) => {}
                Some(std::cmp::Ordering::Equal) => {
                    return Err(fail(key_at, CborFault::DuplicateKey));
                }
                Some(std::cmp::Ordering::Greater) => {
                    return Err(fail(key_at, CborFault::UnsortedKeys));
                }
            }
            before = Some(encoded);
            next = self.item(key.next, inner)?;
        }
        Ok(next)
    }

    /// A typed array: one of our tags on a byte string of whole elements.
    fn tag(&self, at: usize, head: &Head) -> Result<usize, CborError> {
        let fail = |fault| CborError { offset: at, fault };
        let known = TYPED_ARRAYS.iter().find(|(tag, _)| *tag == head.argument);
        let (_, element_bytes) = known.ok_or(fail(CborFault::Tag))?;
        let string = self.head(head.next)?;
        if string.major != MAJOR_BYTES {
            return Err(fail(CborFault::Tag));
        }
        let end = self.skip(head.next, &string)?;
        if !(end - string.next).is_multiple_of(*element_bytes) {
            return Err(fail(CborFault::Tag));
        }
        Ok(end)
    }

    fn simple(&self, at: usize, head: &Head) -> Result<usize, CborError> {
        let fail = |fault| Err(CborError { offset: at, fault });
        let minimal = match head.info {
            20..=22 => return Ok(head.next),
            25 => half_is_canonical(head.argument as u16),
            26 => !single_fits_half(f32::from_bits(head.argument as u32)),
            27 => !double_fits_single(f64::from_bits(head.argument)),
            _ => return fail(CborFault::Simple),
        };
        if minimal {
            return Ok(head.next);
        }
        fail(CborFault::FloatNotMinimal)
    }
}

/// Every half is as short as it gets, but of the NaNs only one is the one we write.
fn half_is_canonical(bits: u16) -> bool {
    const CANONICAL_NAN: u16 = 0x7e00;
    let is_nan = bits & 0x7c00 == 0x7c00 && bits & 0x03ff != 0;
    !is_nan || bits == CANONICAL_NAN
}

fn single_fits_half(value: f32) -> bool {
    const LARGEST_EXPONENT: i32 = 15;
    const SMALLEST_NORMAL_EXPONENT: i32 = -14;
    const SMALLEST_EXPONENT: i32 = -24;
    if value == 0.0 || !value.is_finite() {
        return true;
    }
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    if !(SMALLEST_EXPONENT..=LARGEST_EXPONENT).contains(&exponent) {
        return false;
    }
    let subnormal_by = (SMALLEST_NORMAL_EXPONENT - exponent).max(0) as u32;
    let mantissa = bits & 0x7f_ffff | 0x80_0000;
    mantissa.trailing_zeros() >= 13 + subnormal_by
}

fn double_fits_single(value: f64) -> bool {
    value.is_nan() || f64::from(value as f32) == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(hex: &str, offset: usize, fault: CborFault) {
        let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        assert_eq!(check(&bytes), Err(CborError { offset, fault }), "{hex}");
    }

    #[test]
    fn what_is_not_deterministic_is_refused() {
        use CborFault::*;
        refused("", 0, Truncated);
        refused("19 01", 0, Truncated);
        refused("18 17", 0, NotMinimal);
        refused("19 00ff", 0, NotMinimal);
        refused("1a 0000ffff", 0, NotMinimal);
        refused("1b 00000000ffffffff", 0, NotMinimal);
        refused("58 01 00", 0, NotMinimal);
        refused("9f ff", 0, Indefinite);
        refused("5f 41 00 ff", 0, Indefinite);
        refused("bf ff", 0, Indefinite);
        refused("ff", 0, Indefinite);
        refused("a2 01 00 00 00", 3, UnsortedKeys);
        refused("a2 20 00 00 00", 3, UnsortedKeys);
        refused("a2 01 00 01 00", 3, DuplicateKey);
        refused("a1 61 61 00", 1, KeyNotInteger);
        refused("b8 41", 0, TooManyKeys);
        refused("a5 00 00", 0, LengthBeyondEnd);
        refused("9a ffffffff", 0, LengthBeyondEnd);
        refused("5b ffffffffffffffff 00", 0, LengthBeyondEnd);
        refused("42 00", 0, LengthBeyondEnd);
        refused("00 00", 1, TrailingBytes);
        refused("61 ff", 0, NotUtf8);
        refused("c0 60", 0, Tag);
        refused("d2 80", 0, Tag);
        refused("d8 4e 43 000000", 0, Tag);
        refused("d8 4e 80", 0, Tag);
        refused("f7", 0, Simple);
        refused("f8 20", 0, Simple);
        refused("fc", 0, Simple);
        refused("f9 7e01", 0, FloatNotMinimal);
        refused("fa 3f800000", 0, FloatNotMinimal);
        refused("fa 7fc00000", 0, FloatNotMinimal);
        refused("fb 3ff0000000000000", 0, FloatNotMinimal);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            let mut bytes = vec![0x81; depth];
            bytes.push(0);
            check(&bytes).map_err(|error| error.fault)
        };
        assert_eq!(nested(DEPTH_MAX), Ok(()));
        assert_eq!(nested(DEPTH_MAX + 1), Err(CborFault::TooDeep));
        assert_eq!(nested(100_000), Err(CborFault::TooDeep));
    }

    proptest! {
        #[test]
        fn floats_are_accepted_as_serde_cbor_writes_them(bits in any::<u64>()) {
            let double = f64::from_bits(bits);
            let single = f32::from_bits(bits as u32);
            let halves = f32::from_bits((bits as u32) << 13);
            for written in [
                serde_cbor::to_vec(&double).unwrap(),
                serde_cbor::to_vec(&single).unwrap(),
                serde_cbor::to_vec(&f64::from(single)).unwrap(),
                serde_cbor::to_vec(&halves).unwrap(),
            ] {
                prop_assert_eq!(check(&written), Ok(()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = check(&bytes);
        }
    }
}
