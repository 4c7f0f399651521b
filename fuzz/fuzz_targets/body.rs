//! Bytes behind a signature, and bytes of an object: a body is decoded, or refused.
//!
//! A signature keeps a fuzzer out of the bodies, and does not keep out a member whose key was stolen.

#![no_main]

use fl_model::{Contribution, LogEntry, PartialSum, RosterEntry, RoundPlan};
use fl_wire::{
    Beat, Decline, Encoded, EnvelopeList, FogBeat, Hello, Manifest, MomentsObject, ParameterObject,
    PendingObject, Receipt, ResidualObject, RoundSettled, SettledNotice, SnapshotObject, SpanBatch,
    Want, Welcome,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
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
    decode::<PendingObject>(bytes);
    decode::<ResidualObject>(bytes);
});

/// What decodes is encoded again to the same bytes: there is one encoding of everything.
fn decode<T: Encoded>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert!(value.encode().is_ok_and(|again| again == bytes));
    }
}
