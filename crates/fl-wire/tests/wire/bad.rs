//! The bad vectors: what must be refused, and how.

use coset::CborSerializable;
use coset::cbor::Value;
use ed25519_dalek::Signer;
use fl_model::{
    Contribution, DeviceId, Digest, Epoch, JobId, ObjectRef, PartialSum, Phase, Reason, RegionId,
    RoundNumber, RoundPlan,
};
use fl_wire::{
    Beat, Body, CborFault, Encoded, Envelope, Expected, Header, Manifest, MessageKind, Receipt,
    WireError,
};
use serde_cbor::Value as Cbor;

use crate::hex;
use crate::samples::{self, device, fog, region, root, round_key};
use crate::vectors::BYTES_MAX;

/// How the receiver of a case reads it.
type Reader = fn(&[u8]) -> Result<(), WireError>;

pub(crate) struct Case {
    pub(crate) name: String,
    bytes: Vec<u8>,
    /// What makes it bad.
    what: &'static str,
    read: Reader,
    reason: Reason,
}

/// A receiver that knows kind, job, round, region and sender from the topic.
fn receive<B: Body>(bytes: &[u8], expected: &Expected) -> Result<(), WireError> {
    let verified = Envelope::parse(bytes, BYTES_MAX)?.verify(&samples::key().verifying_key())?;
    verified.expect(expected)?;
    verified.open::<B>().map(drop)
}

/// A receiver that knows nothing: the body alone must agree with its header.
fn open<B: Body>(bytes: &[u8]) -> Result<(), WireError> {
    receive::<B>(bytes, &Expected::default())
}

fn receive_contribution(bytes: &[u8]) -> Result<(), WireError> {
    let expected = Expected::kind(MessageKind::TrainContribution)
        .in_round(&round_key(Phase::Train))
        .in_region(&region())
        .from_sender(&device());
    receive::<Contribution>(bytes, &expected)
}

fn good_header() -> Header {
    Header::new(MessageKind::TrainContribution, &device())
        .in_round(&round_key(Phase::Train))
        .in_region(&region())
        .under(Epoch(3))
}

fn good_body() -> Vec<u8> {
    samples::contribution(Phase::Train).encode().unwrap()
}

/// Header parameters as (label, value), in order.
type Parameters = Vec<(i64, Value)>;

/// The protected header that `seal` writes for a header, as bytes.
fn protected(header: &Header) -> Vec<u8> {
    let of = |phase| samples::contribution(phase);
    // The body does not matter to the header; only `seal` must accept the pair.
    let body = of(Phase::Train);
    let sealed = fl_wire::seal(header, &body, &samples::key()).unwrap();
    let message = coset::CoseSign1::from_slice(&sealed[1..]).unwrap();
    message.protected.original_data.unwrap()
}

/// The same with one parameter set to another value.
fn with(label: i64, value: impl Into<Value>) -> Vec<u8> {
    edited(|parameters| {
        let value = value.into();
        match parameters.iter_mut().find(|(key, _)| *key == label) {
            Some((_, old)) => *old = value,
            None => parameters.push((label, value)),
        }
    })
}

fn without(label: i64) -> Vec<u8> {
    edited(|parameters| parameters.retain(|(key, _)| *key != label))
}

fn edited(edit: impl FnOnce(&mut Parameters)) -> Vec<u8> {
    let map = Value::from_slice(&protected(&good_header())).unwrap();
    let pairs = map.into_map().unwrap().into_iter();
    let label = |key: Value| i64::try_from(i128::from(key.into_integer().unwrap())).unwrap();
    let mut parameters: Parameters = pairs.map(|(key, value)| (label(key), value)).collect();
    edit(&mut parameters);
    let pairs = parameters
        .into_iter()
        .map(|(key, value)| (key.into(), value));
    Value::Map(pairs.collect()).to_vec().unwrap()
}

/// A message of these bytes, with a signature that is right.
fn signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    message(protected, "a0", payload, &signature(protected, payload))
}

fn signature(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Cbor::Bytes(bytes.to_vec());
    let context = Cbor::Text("Signature1".to_owned());
    let structure = Cbor::Array(vec![context, bytes(protected), bytes(b""), bytes(payload)]);
    let signed = serde_cbor::to_vec(&structure).unwrap();
    samples::key().sign(&signed).to_bytes().to_vec()
}

fn message(protected: &[u8], unprotected: &str, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let string = |bytes: &[u8]| serde_cbor::to_vec(&Cbor::Bytes(bytes.to_vec())).unwrap();
    let unprotected = hex::parse(unprotected);
    let head = vec![0xd2, 0x84];
    [
        head,
        string(protected),
        unprotected,
        string(payload),
        string(signature),
    ]
    .concat()
}

/// The good body under another header, with the signature of the good one.
fn swapped(protected: &[u8]) -> Vec<u8> {
    let body = good_body();
    message(
        protected,
        "a0",
        &body,
        &signature(&self::protected(&good_header()), &body),
    )
}

/// A heartbeat with this body, rightly signed.
fn beat(payload: &str) -> Vec<u8> {
    let header = Header::new(MessageKind::Beat, &device()).in_region(&region());
    let body = Beat {
        sent_us: 0,
        working_on: None,
        outstanding: 1,
        declining: None,
    };
    let sealed = fl_wire::seal(&header, &body, &samples::key()).unwrap();
    let message = coset::CoseSign1::from_slice(&sealed[1..]).unwrap();
    signed(
        &message.protected.original_data.unwrap(),
        &hex::parse(payload),
    )
}

mod label {
    pub(super) const ALGORITHM: i64 = 1;
    pub(super) const SENDER: i64 = 4;
    pub(super) const VERSION: i64 = -65_537;
    pub(super) const KIND: i64 = -65_538;
    pub(super) const JOB: i64 = -65_539;
    pub(super) const ROUND: i64 = -65_540;
    pub(super) const EPOCH: i64 = -65_541;
    pub(super) const REGION: i64 = -65_542;
    pub(super) const UNKNOWN: i64 = -65_600;
}

fn case(name: &str, what: &'static str, bytes: Vec<u8>, read: Reader, reason: Reason) -> Case {
    Case {
        name: name.to_owned(),
        bytes,
        what,
        read,
        reason,
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [
        swapped_fields(),
        signed_elsewhere(),
        envelopes(),
        headers(),
        bodies(),
        values(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A signed message of which one protected field was changed: the signature no longer fits.
fn swapped_fields() -> Vec<Case> {
    let field = |name: &str, protected: Vec<u8>| {
        let what = "a protected field was changed after signing";
        let bytes = swapped(&protected);
        case(
            name,
            what,
            bytes,
            open::<Contribution>,
            Reason::BadSignature,
        )
    };
    let evaluate = MessageKind::EvaluateContribution.code();
    let version = case(
        "swapped_version",
        "the version was changed after signing",
        swapped(&with(label::VERSION, 2)),
        open::<Contribution>,
        Reason::Malformed,
    );
    vec![
        version,
        field("swapped_kind", with(label::KIND, evaluate)),
        field("swapped_job", with(label::JOB, "water")),
        field("swapped_round", with(label::ROUND, 18)),
        field("swapped_epoch", with(label::EPOCH, 4)),
        field("swapped_region", with(label::REGION, "south")),
        field("swapped_sender", with(label::SENDER, b"edge-02".to_vec())),
        field("removed_region", without(label::REGION)),
    ]
}

/// Rightly signed messages that are not what they stand for: a body under a foreign header, or a
/// message where another was expected.
fn signed_elsewhere() -> Vec<Case> {
    let foreign = |name: &str, what, protected: Vec<u8>, read: Reader| {
        let bytes = signed(&protected, &good_body());
        case(name, what, bytes, read, Reason::Foreign)
    };
    let opened: Reader = open::<Contribution>;
    let statistics = MessageKind::StatisticsContribution.code();
    let partial = MessageKind::TrainPartial.code();
    let stale = |name: &str, bytes: Vec<u8>, read: Reader| {
        let what = "the body names another epoch than the header";
        case(name, what, bytes, read, Reason::Stale)
    };
    vec![
        foreign(
            "body_of_another_job",
            "the body names another job than the header",
            with(label::JOB, "water"),
            opened,
        ),
        foreign(
            "body_of_another_round",
            "the body names another round than the header",
            with(label::ROUND, 16),
            opened,
        ),
        foreign(
            "body_of_another_sender",
            "the body names another device than the header",
            with(label::SENDER, b"edge-02".to_vec()),
            opened,
        ),
        foreign(
            "body_of_another_phase",
            "the body is of another phase than the header's kind",
            with(label::KIND, statistics),
            opened,
        ),
        foreign(
            "body_of_another_kind",
            "the header's kind is not that of a contribution",
            with(label::KIND, partial),
            opened,
        ),
        foreign(
            "body_without_job",
            "the header names no job",
            without(label::JOB),
            opened,
        ),
        foreign(
            "body_without_round",
            "the header names no round",
            without(label::ROUND),
            opened,
        ),
        foreign(
            "in_another_region",
            "the message came under another region's topic",
            with(label::REGION, "south"),
            receive_contribution,
        ),
        foreign(
            "in_no_region",
            "the header names no region",
            without(label::REGION),
            receive_contribution,
        ),
        foreign(
            "in_another_job",
            "the message came under another job",
            with(label::JOB, "water"),
            receive_contribution,
        ),
        foreign(
            "in_another_round",
            "the message came for another round",
            with(label::ROUND, 16),
            receive_contribution,
        ),
        foreign(
            "from_another_sender",
            "the message came under another device's topic",
            with(label::SENDER, b"edge-02".to_vec()),
            receive_contribution,
        ),
        foreign(
            "of_another_kind",
            "another kind of message was expected",
            with(label::KIND, statistics),
            receive_contribution,
        ),
        stale(
            "plan_of_another_epoch",
            resigned("plan_train", label::EPOCH, 4),
            open::<RoundPlan>,
        ),
        stale(
            "partial_of_another_epoch",
            resigned("partial_train", label::EPOCH, 2),
            open::<PartialSum>,
        ),
        case(
            "partial_of_another_region",
            "the body names another region than the header",
            resigned("partial_train", label::REGION, "south"),
            open::<PartialSum>,
            Reason::Foreign,
        ),
        case(
            "plan_from_a_device",
            "only the root may send a plan",
            resigned("plan_train", label::SENDER, b"edge-01".to_vec()),
            open::<RoundPlan>,
            Reason::Foreign,
        ),
        case(
            "roster_entry_from_a_fog",
            "only the root may send a roster entry",
            resigned("roster_entry", label::SENDER, b"fog-north".to_vec()),
            open::<fl_model::RosterEntry>,
            Reason::Foreign,
        ),
    ]
}

/// A sample with one header parameter replaced, signed again.
fn resigned(name: &str, label: i64, value: impl Into<Value>) -> Vec<u8> {
    let sample = samples::messages()
        .into_iter()
        .find(|sample| sample.name == name)
        .unwrap();
    let cose = coset::CoseSign1::from_slice(&sample.bytes[1..]).unwrap();
    let map = Value::from_slice(cose.protected.original_data.as_ref().unwrap()).unwrap();
    let mut pairs = map.into_map().unwrap();
    let (_, old) = pairs
        .iter_mut()
        .find(|(key, _)| *key == Value::from(label))
        .unwrap();
    *old = value.into();
    signed(&Value::Map(pairs).to_vec().unwrap(), &cose.payload.unwrap())
}

/// Messages whose COSE_Sign1 is not ours.
fn envelopes() -> Vec<Case> {
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

/// Bytes of the head of a byte string.
fn body_head(body: &[u8]) -> usize {
    match body.len() {
        0..24 => 1,
        24..256 => 2,
        _ => 3,
    }
}

/// Messages whose protected header is not ours, rightly signed.
fn headers() -> Vec<Case> {
    let bad = |name: &str, what, protected: Vec<u8>| {
        let bytes = signed(&protected, &good_body());
        case(name, what, bytes, open::<Contribution>, Reason::Malformed)
    };
    let good = protected(&good_header());
    let unsorted = edited(|parameters| parameters.swap(2, 3));
    let twice = edited(|parameters| parameters.push(parameters[parameters.len() - 1].clone()));
    let mut round_not_minimal = good.clone();
    let round_at = good
        .windows(6)
        .position(|bytes| bytes == hex::parse("3a0001000311"))
        .unwrap();
    round_not_minimal.splice(round_at + 5..round_at + 6, [0x18, 17]);
    vec![
        bad(
            "header_version_0",
            "version 0 does not exist",
            with(label::VERSION, 0),
        ),
        bad(
            "header_version_2",
            "version 2 is not spoken yet",
            with(label::VERSION, 2),
        ),
        bad(
            "header_version_text",
            "the version is a text",
            with(label::VERSION, "1"),
        ),
        bad(
            "header_without_version",
            "the version is missing",
            without(label::VERSION),
        ),
        bad(
            "header_without_kind",
            "the kind is missing",
            without(label::KIND),
        ),
        bad(
            "header_without_epoch",
            "the epoch is missing",
            without(label::EPOCH),
        ),
        bad(
            "header_without_sender",
            "the sender is missing",
            without(label::SENDER),
        ),
        bad(
            "header_unknown_kind",
            "no kind has that number",
            with(label::KIND, 255),
        ),
        bad(
            "header_kind_too_large",
            "the kind exceeds 8 bits",
            with(label::KIND, 259),
        ),
        bad(
            "header_round_negative",
            "the round is negative",
            with(label::ROUND, -1),
        ),
        bad(
            "header_round_too_large",
            "the round exceeds 32 bits",
            with(label::ROUND, 1u64 << 32),
        ),
        bad(
            "header_round_nan",
            "the round is not a number",
            with(label::ROUND, f64::NAN),
        ),
        bad(
            "header_round_float",
            "the round is a float",
            with(label::ROUND, 17.0),
        ),
        bad(
            "header_job_bytes",
            "the job is a byte string",
            with(label::JOB, b"air".to_vec()),
        ),
        bad(
            "header_job_name",
            "the job's name has a dot",
            with(label::JOB, "a.b"),
        ),
        bad(
            "header_region_name",
            "the region's name is a wildcard",
            with(label::REGION, "+"),
        ),
        bad(
            "header_sender_not_utf8",
            "the sender's name is not text",
            with(label::SENDER, vec![0xff, 0xfe]),
        ),
        bad(
            "header_unknown_parameter",
            "version 1 has no such parameter",
            with(label::UNKNOWN, 0),
        ),
        bad(
            "header_other_algorithm",
            "the algorithm is ES256",
            with(label::ALGORITHM, -7),
        ),
        bad(
            "header_without_algorithm",
            "the algorithm is missing",
            without(label::ALGORITHM),
        ),
        bad(
            "header_unsorted",
            "two parameters are out of order",
            unsorted,
        ),
        bad("header_duplicate", "a parameter comes twice", twice),
        bad(
            "header_not_minimal",
            "the round takes two bytes",
            round_not_minimal,
        ),
        bad(
            "header_trailing_byte",
            "a byte follows the header",
            [good.as_slice(), &[0]].concat(),
        ),
        bad("header_empty", "the header is empty", Vec::new()),
        bad(
            "header_indefinite",
            "the header has an indefinite length",
            [&[0xbf], &good[1..], &[0xff]].concat(),
        ),
    ]
}

/// Rightly signed heartbeats whose body is not deterministic CBOR, or not a heartbeat.
/// A good body is `a4 00 00 01 f6 02 01 03 f6`.
fn bodies() -> Vec<Case> {
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
fn values() -> Vec<Case> {
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

/// A header without round and region, whatever its kind.
fn bare(header: &Header) -> Vec<u8> {
    let mut parameters = vec![
        (Value::from(label::ALGORITHM), Value::from(-8)),
        (
            Value::from(label::SENDER),
            Value::from(header.sender.as_str().as_bytes()),
        ),
        (Value::from(label::VERSION), Value::from(header.version)),
        (Value::from(label::KIND), Value::from(header.kind.code())),
    ];
    parameters.push((Value::from(label::EPOCH), Value::from(header.epoch.0)));
    Value::Map(parameters).to_vec().unwrap()
}

fn short_digest() -> (String, String) {
    let digest = Digest::of(b"contribution").to_string();
    (format!("5820{digest}"), format!("581f{}", &digest[..62]))
}

/// The bytes with the one place of `from` replaced.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (hex::parse(from), hex::parse(to));
    let places: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&from))
        .collect();
    assert_eq!(places.len(), 1, "{from:02x?} in {bytes:02x?}");
    let mut edited = bytes.to_vec();
    edited.splice(places[0]..places[0] + from.len(), to);
    edited
}

#[test]
fn bad_vectors_are_refused_as_ever() {
    for case in cases() {
        let name = format!("bad_{}", case.name);
        let Err(error) = (case.read)(&case.bytes) else {
            panic!("{name} is accepted");
        };
        assert_eq!(error.reason(), case.reason, "{name}: {error}");
        let comments = vec![
            format!("{name}: {}", case.what),
            format!("error: {error}"),
            format!("reason: {}", case.reason),
        ];
        hex::check_or_write(&name, &case.bytes, &comments, &hex::plain(&case.bytes));
        let (stored, _) = hex::read(&name);
        assert_eq!((case.read)(&stored), Err(error), "{name}");
    }
}

#[test]
fn the_message_that_the_bad_ones_are_made_from_is_good() {
    let good = signed(&protected(&good_header()), &good_body());
    assert_eq!(receive_contribution(&good), Ok(()));
    assert_eq!(open::<Beat>(&beat("a4 00 00 01 f6 02 01 03 f6")), Ok(()));
}

#[test]
fn a_message_beyond_the_receivers_limit_is_not_looked_at() {
    let good = signed(&protected(&good_header()), &good_body());
    let limit = good.len() - 1;
    let refused = Envelope::parse(&good, limit).unwrap_err();
    let expected = WireError::Oversized {
        what: "message",
        bytes: good.len(),
        limit,
    };
    assert_eq!(refused, expected);
    assert!(Envelope::parse(&good, good.len()).is_ok());
}

#[test]
fn a_control_message_is_bounded_whatever_the_receivers_limit() {
    let bytes_max = fl_wire::limits::CONTROL_BYTES_MAX;
    let receipt = Header::new(MessageKind::Receipt, &fog());
    let bytes = signed(&bare(&receipt), &vec![0; bytes_max]);
    let refused = open::<Receipt>(&bytes).unwrap_err();
    let expected = WireError::Oversized {
        what: "receipt",
        bytes: bytes.len(),
        limit: bytes_max,
    };
    assert_eq!(refused, expected);
}

#[test]
fn what_could_not_be_read_is_not_sealed() {
    let key = samples::key();
    let body = samples::contribution(Phase::Train);
    let refused = |header: &Header| fl_wire::seal(header, &body, &key).unwrap_err().reason();
    let good = good_header();
    let edge_02 = DeviceId::new("edge-02").unwrap();
    assert_eq!(
        refused(&Header {
            sender: edge_02,
            ..good.clone()
        }),
        Reason::Foreign
    );
    assert_eq!(
        refused(&Header {
            sender: root(),
            ..good.clone()
        }),
        Reason::Foreign
    );
    let water = JobId::new("water").unwrap();
    assert_eq!(
        refused(&Header {
            job: Some(water),
            ..good.clone()
        }),
        Reason::Foreign
    );
    assert_eq!(
        refused(&Header {
            round: Some(RoundNumber(1)),
            ..good.clone()
        }),
        Reason::Foreign
    );
    assert_eq!(
        refused(&Header {
            kind: MessageKind::Beat,
            ..good.clone()
        }),
        Reason::Foreign
    );

    let south = Some(RegionId::new("south").unwrap());
    let partial = samples::partial(Phase::Train);
    let header = Header::new(MessageKind::TrainPartial, &fog())
        .in_round(&partial.key)
        .under(partial.epoch);
    let elsewhere = Header {
        region: south,
        ..header
    };
    let refused = fl_wire::seal(&elsewhere, &partial, &key).unwrap_err();
    assert_eq!(refused.reason(), Reason::Foreign);

    let object = ObjectRef {
        digest: Digest::of(b""),
        bytes: 1,
    };
    let manifest = Manifest {
        object,
        chunk_bytes: 0,
        chunks: Vec::new(),
    };
    let header = Header::new(MessageKind::Manifest, &fog());
    let refused = fl_wire::seal(&header, &manifest, &key).unwrap_err();
    assert!(matches!(refused, WireError::Value { .. }), "{refused}");
}

#[test]
fn faults_name_their_place() {
    let refused = open::<Beat>(&beat("a4 00 1800 01 f6 02 01 03 f6")).unwrap_err();
    let WireError::Cbor { what, error } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (*what, error.offset, error.fault),
        ("heartbeat", 2, CborFault::NotMinimal)
    );
}
