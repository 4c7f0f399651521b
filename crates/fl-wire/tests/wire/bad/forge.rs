//! Messages that `seal` would not write, rightly signed where that matters.

use coset::CborSerializable;
use coset::cbor::Value;
use ed25519_dalek::Signer;
use fl_model::{Digest, Epoch, Phase};
use fl_wire::{Beat, Encoded, Header, MessageKind};
use serde_cbor::Value as Cbor;

use crate::hex;
use crate::samples::{self, device, region, round_key};

pub(super) fn good_header() -> Header {
    Header::new(MessageKind::TrainContribution, &device())
        .in_round(&round_key(Phase::Train))
        .in_region(&region())
        .under(Epoch(3))
}

pub(super) fn good_body() -> Vec<u8> {
    samples::contribution(Phase::Train).encode().unwrap()
}

/// Header parameters as (label, value), in order.
pub(super) type Parameters = Vec<(i64, Value)>;

/// The protected header that `seal` writes for a header, as bytes.
pub(super) fn protected(header: &Header) -> Vec<u8> {
    let of = |phase| samples::contribution(phase);
    // The body does not matter to the header; only `seal` must accept the pair.
    let body = of(Phase::Train);
    let sealed = fl_wire::seal(header, &body, &samples::key()).unwrap();
    let message = coset::CoseSign1::from_slice(&sealed[1..]).unwrap();
    message.protected.original_data.unwrap()
}

/// The same with one parameter set to another value.
pub(super) fn with(label: i64, value: impl Into<Value>) -> Vec<u8> {
    edited(|parameters| {
        let value = value.into();
        match parameters.iter_mut().find(|(key, _)| *key == label) {
            Some((_, old)) => *old = value,
            None => parameters.push((label, value)),
        }
    })
}

pub(super) fn without(label: i64) -> Vec<u8> {
    edited(|parameters| parameters.retain(|(key, _)| *key != label))
}

pub(super) fn edited(edit: impl FnOnce(&mut Parameters)) -> Vec<u8> {
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
pub(super) fn signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    message(protected, "a0", payload, &signature(protected, payload))
}

pub(super) fn signature(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Cbor::Bytes(bytes.to_vec());
    let context = Cbor::Text("Signature1".to_owned());
    let structure = Cbor::Array(vec![context, bytes(protected), bytes(b""), bytes(payload)]);
    let signed = serde_cbor::to_vec(&structure).unwrap();
    samples::key().sign(&signed).to_bytes().to_vec()
}

pub(super) fn message(
    protected: &[u8],
    unprotected: &str,
    payload: &[u8],
    signature: &[u8],
) -> Vec<u8> {
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
pub(super) fn swapped(protected: &[u8]) -> Vec<u8> {
    let body = good_body();
    message(
        protected,
        "a0",
        &body,
        &signature(&self::protected(&good_header()), &body),
    )
}

/// A heartbeat with this body, rightly signed.
pub(super) fn beat(payload: &str) -> Vec<u8> {
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

pub(super) mod label {
    pub(in crate::bad) const ALGORITHM: i64 = 1;
    pub(in crate::bad) const SENDER: i64 = 4;
    pub(in crate::bad) const VERSION: i64 = -65_537;
    pub(in crate::bad) const KIND: i64 = -65_538;
    pub(in crate::bad) const JOB: i64 = -65_539;
    pub(in crate::bad) const ROUND: i64 = -65_540;
    pub(in crate::bad) const EPOCH: i64 = -65_541;
    pub(in crate::bad) const REGION: i64 = -65_542;
    pub(in crate::bad) const UNKNOWN: i64 = -65_600;
}

/// A sample with one header parameter replaced, signed again.
pub(super) fn resigned(name: &str, label: i64, value: impl Into<Value>) -> Vec<u8> {
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

/// Bytes of the head of a byte string.
pub(super) fn body_head(body: &[u8]) -> usize {
    match body.len() {
        0..24 => 1,
        24..256 => 2,
        _ => 3,
    }
}

/// A header without round and region, whatever its kind.
pub(super) fn bare(header: &Header) -> Vec<u8> {
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

pub(super) fn short_digest() -> (String, String) {
    let digest = Digest::of(b"contribution").to_string();
    (format!("5820{digest}"), format!("581f{}", &digest[..62]))
}

/// The bytes with the one place of `from` replaced.
pub(super) fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (hex::parse(from), hex::parse(to));
    let places: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&from))
        .collect();
    assert_eq!(places.len(), 1, "{from:02x?} in {bytes:02x?}");
    let mut edited = bytes.to_vec();
    edited.splice(places[0]..places[0] + from.len(), to);
    edited
}
