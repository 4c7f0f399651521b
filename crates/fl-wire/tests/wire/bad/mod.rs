//! The bad vectors: what must be refused, and how.

mod bytes;
mod fields;
mod forge;

use fl_model::{
    Contribution, DeviceId, Digest, JobId, ObjectRef, Phase, Reason, RegionId, RoundNumber,
};
use fl_wire::{
    Beat, Body, CborFault, Envelope, Expected, Header, Manifest, MessageKind, Receipt, WireError,
};

use crate::hex;
use crate::samples::{self, device, fog, region, root, round_key};
use crate::vectors::BYTES_MAX;
use bytes::{bodies, envelopes, values};
use fields::{headers, signed_elsewhere, swapped_fields};
use forge::*;

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
    verified.check(expected)?;
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
        contribution_to: None,
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
