//! Whatever the values and whatever the bytes.

use fl_model::{Contribution, LogEntry, PartialSum, RosterEntry, RoundPlan};
use fl_wire::{
    Beat, Body, Decline, Encoded, Envelope, EnvelopeList, FogBeat, Header, Hello, Manifest,
    MomentsObject, ParameterObject, Receipt, RoundSettled, SettledNotice, SnapshotObject,
    SpanBatch, Verified, Want, Welcome, seal,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::samples;
use crate::strategies as arbitrary;
use crate::vectors::{BYTES_MAX, verified};

/// Seals the body under a header that fits it, and opens it again.
fn round_trip<B: Body + PartialEq + std::fmt::Debug>(body: &B) -> Result<(), TestCaseError> {
    let scope = body.scope();
    let sender = match scope.sender {
        Some(sender) => sender,
        None if body.kind().is_from_root() => samples::root(),
        None => samples::fog(),
    };
    let mut header = Header::new(body.kind(), &sender);
    header.job = scope.job;
    header.round = scope.round;
    header.region = scope.region;
    header.epoch = scope.epoch.unwrap_or_default();
    let bytes = seal(&header, body, &samples::key()).unwrap();
    let message = verified(&bytes);
    prop_assert_eq!(message.header(), &header);
    let opened: B = message.open().unwrap();
    prop_assert_eq!(&opened, body);
    Ok(())
}

fn encoded<T: Encoded + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let decoded = T::decode(&value.encode().unwrap()).unwrap();
    prop_assert_eq!(&decoded, value);
    Ok(())
}

macro_rules! every_body_comes_back {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(#[test]
            fn $name(body in $strategy) {
                round_trip(&body)?;
            })*
        }
    };
}

every_body_comes_back! {
    plans_come_back: arbitrary::plan();
    contributions_come_back: arbitrary::contribution();
    partials_come_back: arbitrary::partial();
    log_entries_come_back: arbitrary::log_entry();
    receipts_come_back: arbitrary::receipt();
    settled_notices_come_back: arbitrary::settled_notice();
    settled_rounds_come_back: arbitrary::round_settled();
    roster_entries_come_back: arbitrary::roster_entry();
    hellos_come_back: arbitrary::hello();
    welcomes_come_back: arbitrary::welcome();
    heartbeats_come_back: arbitrary::beat();
    fog_heartbeats_come_back: arbitrary::fog_beat();
    manifests_come_back: arbitrary::manifest();
    wants_come_back: arbitrary::want();
    declines_come_back: arbitrary::decline();
    spans_come_back: arbitrary::span_batch();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn objects_come_back(
        parameters in arbitrary::parameters(),
        moments in arbitrary::moments(),
        snapshot in arbitrary::snapshot(),
        envelopes in arbitrary::envelopes(),
    ) {
        encoded(&parameters)?;
        encoded(&moments)?;
        encoded(&snapshot)?;
        encoded(&envelopes)?;
    }
}

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Truncate(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, 1 << bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..10))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        at().prop_map(Edit::Remove),
        at().prop_map(Edit::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: Edit) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match edit {
        Edit::Set(at, byte) => bytes[at.index(length)] = byte,
        Edit::Flip(at, bit) => bytes[at.index(length)] ^= bit,
        Edit::Insert(at, more) => {
            let at = at.index(length);
            bytes.splice(at..at, more);
        }
        Edit::Remove(at) => drop(bytes.remove(at.index(length))),
        Edit::Truncate(at) => bytes.truncate(at.index(length)),
    }
}

/// Reads the bytes as everything there is. What is taken must be in its one encoding.
pub(crate) fn decode_as_everything(bytes: &[u8]) {
    fn decode<T: Encoded>(bytes: &[u8]) {
        if let Ok(value) = T::decode(bytes) {
            assert!(value.encode().unwrap() == bytes);
        }
    }
    decode::<RoundPlan>(bytes);
    decode::<Contribution>(bytes);
    decode::<PartialSum>(bytes);
    decode::<LogEntry>(bytes);
    decode::<RosterEntry>(bytes);
    decode::<Receipt>(bytes);
    decode::<SettledNotice>(bytes);
    decode::<RoundSettled>(bytes);
    decode::<Hello>(bytes);
    decode::<Welcome>(bytes);
    decode::<Beat>(bytes);
    decode::<FogBeat>(bytes);
    decode::<Manifest>(bytes);
    decode::<Want>(bytes);
    decode::<Decline>(bytes);
    decode::<SpanBatch>(bytes);
    decode::<ParameterObject>(bytes);
    decode::<MomentsObject>(bytes);
    decode::<SnapshotObject>(bytes);
    decode::<EnvelopeList>(bytes);
}

/// The body of a good message, as bytes.
pub(crate) fn body_of(message: &[u8]) -> Vec<u8> {
    let cose = <coset::CoseSign1 as coset::CborSerializable>::from_slice(&message[1..]).unwrap();
    cose.payload.unwrap()
}

fn read(bytes: &[u8]) -> Result<Verified, fl_wire::WireError> {
    Envelope::parse(bytes, BYTES_MAX)?.verify(&samples::key().verifying_key())
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(read(&bytes).is_err());
        decode_as_everything(&bytes);
    }

    #[test]
    fn a_changed_message_is_refused(
        sample in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..4),
    ) {
        let samples = arbitrary::sample_bytes();
        let good = &samples[sample.index(samples.len())];
        let mut bytes = good.clone();
        edits.into_iter().for_each(|edit| apply(&mut bytes, edit));
        prop_assert_eq!(read(&bytes).is_ok(), &bytes == good);
    }

    #[test]
    fn a_changed_body_is_refused_or_read_as_it_stands(
        sample in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..4),
    ) {
        let bodies = arbitrary::sample_bodies();
        let mut bytes = bodies[sample.index(bodies.len())].clone();
        edits.into_iter().for_each(|edit| apply(&mut bytes, edit));
        decode_as_everything(&bytes);
    }
}

#[test]
fn every_flipped_bit_of_a_signed_message_is_noticed() {
    let good = &samples::messages()[1].bytes;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(read(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
}
