//! Bytes that are not deterministic CBOR, not a message, or not a value that its field allows.

use coset::CborSerializable;
use fl_model::{Contribution, PartialSum, Reason, RoundPlan};
use fl_wire::{Beat, Decline, Hello, Manifest, Receipt};

use crate::hex;
use crate::samples::{self};

use super::forge::*;
use super::{Case, Reader, case, open};

/// Messages whose COSE_Sign1 is not ours.
pub(super) fn envelopes() -> Vec<Case> {
    let header = protected(&good_header());
    let body = good_body();
    let good = signed(&header, &body);
    let signature = signature(&header, &body);
    let bad =
        |name: &str, what, bytes| case(name, what, bytes, open::<Contribution>, Reason::Malformed);
    let edit = |at: usize, edit: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= edit;
        bytes
    };
    let forged = |name: &str, what, bytes| {
        case(
            name,
            what,
            bytes,
            open::<Contribution>,
            Reason::BadSignature,
        )
    };
    let body_at = good.len() - body.len();
    vec![
        bad("empty", "there are no bytes", Vec::new()),
        bad(
            "truncated",
            "the last byte is missing",
            good[..good.len() - 1].to_vec(),
        ),
        bad(
            "truncated_header",
            "the message ends in its header",
            good[..20].to_vec(),
        ),
        bad(
            "trailing_byte",
            "a byte follows the message",
            [good.as_slice(), &[0]].concat(),
        ),
        bad("untagged", "tag 18 is missing", good[1..].to_vec()),
        bad(
            "tagged_as_mac",
            "the tag is that of COSE_Mac0",
            edit(0, 0xd2 ^ 0xd1),
        ),
        bad(
            "tag_not_minimal",
            "tag 18 takes two bytes",
            [&[0xd8, 18], &good[1..]].concat(),
        ),
        bad(
            "indefinite_envelope",
            "the array has an indefinite length",
            [&[0xd2, 0x9f], &good[2..], &[0xff]].concat(),
        ),
        bad(
            "five_parts",
            "the array has a fifth item",
            [&[0xd2, 0x85], &good[2..], &[0xf6]].concat(),
        ),
        bad(
            "signature_claims_more",
            "the signature claims 2^64 - 1 bytes",
            [
                &good[..good.len() - 66],
                &hex::parse("5bffffffffffffffff"),
                &signature,
            ]
            .concat(),
        ),
        bad(
            "unprotected_parameter",
            "a header parameter is not protected",
            message(&header, "a10441aa", &body, &signature),
        ),
        bad(
            "no_body",
            "the body is detached",
            [
                &good[..body_at - 64 - 2 - body_head(&body)],
                &[0xf6],
                &good[good.len() - 66..],
            ]
            .concat(),
        ),
        bad(
            "short_signature",
            "the signature has 63 bytes",
            message(&header, "a0", &body, &signature[..63]),
        ),
        forged(
            "flipped_signature",
            "one bit of the signature is flipped",
            edit(good.len() - 1, 1),
        ),
        forged(
            "flipped_body",
            "one bit of the body is flipped",
            edit(good.len() - 70, 1),
        ),
        forged(
            "zero_signature",
            "the signature is all zeros",
            message(&header, "a0", &body, &[0; 64]),
        ),
    ]
}

/// Rightly signed heartbeats whose body is not deterministic CBOR, or not a heartbeat.
/// A good body is `a4 00 00 01 f6 02 01 03 f6`.
pub(super) fn bodies() -> Vec<Case> {
    let bad = |name: &str, what, payload: &str| {
        case(name, what, beat(payload), open::<Beat>, Reason::Malformed)
    };
    let nested = format!("a4 00 00 01 f6 02 {} 01 03 f6", "81".repeat(16));
    let keys: String = (0..65)
        .map(|key| serde_cbor::to_vec(&key).unwrap())
        .map(|key| hex::plain(&key) + "00")
        .collect();
    vec![
        bad("body_empty", "the body has no bytes", ""),
        bad(
            "body_not_minimal",
            "a number takes two bytes",
            "a4 00 1800 01 f6 02 01 03 f6",
        ),
        bad(
            "body_length_not_minimal",
            "the map's length takes two bytes",
            "b804 00 00 01 f6 02 01 03 f6",
        ),
        bad(
            "body_indefinite",
            "the map has an indefinite length",
            "bf 00 00 01 f6 02 01 03 f6 ff",
        ),
        bad(
            "body_unsorted",
            "two keys are out of order",
            "a4 01 f6 00 00 02 01 03 f6",
        ),
        bad(
            "body_duplicate_key",
            "a key comes twice",
            "a4 00 00 00 00 02 01 03 f6",
        ),
        bad(
            "body_text_key",
            "a key is a text",
            "a4 00 00 01 f6 02 01 6161 f6",
        ),
        bad(
            "body_trailing_byte",
            "a byte follows the body",
            "a4 00 00 01 f6 02 01 03 f6 00",
        ),
        bad(
            "body_truncated",
            "the body ends in its map",
            "a4 00 00 01 f6 02 01 03",
        ),
        bad(
            "body_claims_bytes",
            "a byte string claims 2^64 - 1 bytes",
            "a4 00 00 01 f6 02 5bffffffffffffffff 03 f6",
        ),
        bad(
            "body_claims_items",
            "an array claims 2^64 - 1 items",
            "a4 00 00 01 f6 02 9bffffffffffffffff 03 f6",
        ),
        bad(
            "body_claims_keys",
            "a map claims 2^32 - 1 keys",
            "a4 00 00 01 f6 02 baffffffff 03 f6",
        ),
        bad("body_too_deep", "17 containers are nested", &nested),
        bad(
            "body_too_many_keys",
            "a map has 65 keys",
            &format!("b841 {keys}"),
        ),
        bad(
            "body_nan_for_integer",
            "a number is NaN",
            "a4 00 00 01 f6 02 f97e00 03 f6",
        ),
        bad(
            "body_float_for_integer",
            "a number is a float",
            "a4 00 00 01 f6 02 f93c00 03 f6",
        ),
        bad(
            "body_text_for_integer",
            "a number is a text",
            "a4 00 00 01 f6 02 6131 03 f6",
        ),
        bad(
            "body_null_for_integer",
            "a number is null",
            "a4 00 00 01 f6 02 f6 03 f6",
        ),
        bad(
            "body_integer_too_large",
            "a number exceeds 32 bits",
            "a4 00 00 01 f6 02 1b0000000100000000 03 f6",
        ),
        bad(
            "body_negative",
            "a count is negative",
            "a4 00 00 01 f6 02 20 03 f6",
        ),
        bad(
            "body_unknown_reason",
            "no reason has that number",
            "a4 00 00 01 f6 02 01 03 18ff",
        ),
        bad(
            "body_unknown_field",
            "version 1 has no such field",
            "a5 00 00 01 f6 02 01 03 f6 04 00",
        ),
        bad(
            "body_missing_field",
            "a field is missing",
            "a3 00 00 01 f6 03 f6",
        ),
        bad(
            "body_missing_option",
            "an empty field is left out",
            "a3 00 00 02 01 03 f6",
        ),
        bad(
            "body_as_array",
            "the fields stand in an array",
            "84 00 f6 01 f6",
        ),
        bad(
            "body_undefined",
            "a field is undefined",
            "a4 00 00 01 f7 02 01 03 f6",
        ),
        bad(
            "body_wrong_tag",
            "a number is tagged as a time",
            "a4 00 c1 00 01 f6 02 01 03 f6",
        ),
        bad(
            "body_typed_array",
            "a number is a typed array",
            "a4 00 00 01 f6 02 d84e40 03 f6",
        ),
        bad(
            "body_phase_by_name",
            "a phase is written out",
            "a4 00 00 01 a3 00 63616972 01 11 02 65747261696e 02 01 03 f6",
        ),
        bad(
            "body_unknown_phase",
            "no phase has that number",
            "a4 00 00 01 a3 00 63616972 01 11 02 03 02 01 03 f6",
        ),
        bad(
            "body_bad_name",
            "a job's name has a slash",
            "a4 00 00 01 a3 00 63612f72 01 11 02 01 02 01 03 f6",
        ),
    ]
}

/// Rightly signed messages whose body is deterministic CBOR of the right form and still wrong.
pub(super) fn values() -> Vec<Case> {
    let contribution = |name: &str, what, from: &str, to: &str| {
        let body = replaced(&good_body(), from, to);
        let bytes = signed(&protected(&good_header()), &body);
        case(name, what, bytes, open::<Contribution>, Reason::Malformed)
    };
    let of = |name: &str, what, sample: &str, from: &str, to: &str, read: Reader| {
        let sample = samples::messages()
            .into_iter()
            .find(|one| one.name == sample)
            .unwrap();
        let cose = coset::CoseSign1::from_slice(&sample.bytes[1..]).unwrap();
        let body = replaced(&cose.payload.unwrap(), from, to);
        let bytes = signed(&cose.protected.original_data.unwrap(), &body);
        case(name, what, bytes, read, Reason::Malformed)
    };
    vec![
        // The first tensor is d84d 48 0100 feff ff7f 0080: it fits 16 bits and must not take 32.
        contribution(
            "update_wider_than_needed",
            "a tensor takes 32 bits and fits 16",
            "d84d480100feffff7f0080",
            "d84e5001000000feffffffff7f00000080ffff",
        ),
        contribution(
            "update_as_floats",
            "a tensor is of floats",
            "d84d48",
            "d85548",
        ),
        contribution("update_untagged", "a tensor has no tag", "d84d48", "48"),
        contribution(
            "update_half_element",
            "a tensor ends in an element",
            "d84d480100feffff7f0080",
            "d84d470100feffff7f00",
        ),
        contribution(
            "update_big_endian",
            "a tensor is big endian",
            "d84d48",
            "d84948",
        ),
        contribution(
            "update_tensor_missing",
            "figures of two tensors with one",
            "82d84d480100feffff7f0080d84e4c00000080409c000000000000",
            "81d84d480100feffff7f0080",
        ),
        // "column CO": the space in between becomes an escape.
        of(
            "decline_with_escape",
            "a text for terminals has a control character",
            "decline",
            "636f6c756d6e20434f",
            "636f6c756d6e1b434f",
            open::<Decline>,
        ),
        of(
            "hello_with_line_break",
            "an agent's version has a line break",
            "hello",
            "65302e312e30",
            "65302e310a30",
            open::<Hello>,
        ),
        of(
            "digest_short",
            "a digest has 31 bytes",
            "receipt_admitted",
            &short_digest().0,
            &short_digest().1,
            open::<Receipt>,
        ),
        of(
            "manifest_claims_more",
            "two chunks cannot make up 2^64 - 1 bytes",
            "manifest",
            "011a0001e001",
            "011bffffffffffffffff",
            open::<Manifest>,
        ),
        of(
            "manifest_chunk_size",
            "chunks of 128 KiB are too large",
            "manifest",
            "011a0001e000",
            "011a00020000",
            open::<Manifest>,
        ),
        of(
            "plan_of_another_phase",
            "a plan for an evaluation asks for training",
            "plan_train",
            "011102 01",
            "011102 02",
            open::<RoundPlan>,
        ),
        of(
            "plan_clip_not_finite",
            "the clip bound is infinite",
            "plan_train",
            "f94480",
            "f97c00",
            open::<RoundPlan>,
        ),
        of(
            "plan_of_channels_past_the_last",
            "channels of a dimension that examples of [3, 28, 28] do not have",
            "plan_of_arrays",
            "a101a10000",
            "a101a10007",
            open::<RoundPlan>,
        ),
        of(
            "partial_contributors_unsorted",
            "the contributors are out of order",
            "partial_train",
            "67656467652d303167656467652d3032",
            "67656467652d303267656467652d3031",
            open::<PartialSum>,
        ),
        of(
            "partial_contributor_twice",
            "a contributor counts twice",
            "partial_train",
            "67656467652d303167656467652d3032",
            "67656467652d303167656467652d3031",
            open::<PartialSum>,
        ),
    ]
}
