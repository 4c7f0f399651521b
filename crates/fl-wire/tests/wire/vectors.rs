//! The golden vectors: one message of every kind, as protocol version 1 writes it.

use std::collections::BTreeSet;

use fl_model::{Contribution, LogEntry, PartialSum, Phase, RosterEntry, RoundPlan};
use fl_wire::{
    Beat, Body, Decline, Encoded, Envelope, EnvelopeList, FogBeat, Hello, Manifest, MessageKind,
    MomentsObject, ParameterObject, Receipt, RoundSettled, SettledNotice, SnapshotObject,
    SpanBatch, Verified, Want, Welcome,
};

use crate::samples;
use crate::{bad, hex};

/// More than any vector.
pub(crate) const BYTES_MAX: usize = 1 << 20;

pub(crate) fn verified(bytes: &[u8]) -> Verified {
    let envelope = Envelope::parse(bytes, BYTES_MAX).unwrap();
    envelope.verify(&samples::key().verifying_key()).unwrap()
}

#[test]
fn messages_are_written_as_ever() {
    let mut kinds = BTreeSet::new();
    for sample in samples::messages() {
        kinds.insert(sample.header.kind);
        let comments = vec![
            format!(
                "{}: a {} of protocol version 1",
                sample.name, sample.header.kind
            ),
            "Ed25519 seed of the signer: 32 times 07".to_owned(),
        ];
        let body = hex::annotated(&sample.bytes);
        hex::check_or_write(&sample.name, &sample.bytes, &comments, &body);
    }
    assert_eq!(
        kinds.len(),
        MessageKind::ALL.len(),
        "a kind has no vector: {kinds:?}"
    );
}

#[test]
fn objects_are_written_as_ever() {
    for (name, bytes) in samples::objects() {
        let comments = vec![format!("{name}, unsigned: named by its SHA-256")];
        hex::check_or_write(name, &bytes, &comments, &hex::annotated(&bytes));
    }
}

#[test]
fn no_vector_is_left_over() {
    if hex::writing() {
        return;
    }
    let mut expected: BTreeSet<String> = BTreeSet::new();
    expected.extend(samples::messages().into_iter().map(|sample| sample.name));
    expected.extend(
        samples::objects()
            .into_iter()
            .map(|(name, _)| name.to_owned()),
    );
    expected.extend(
        bad::cases()
            .into_iter()
            .map(|case| format!("bad_{}", case.name)),
    );
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let found: BTreeSet<String> = hex::folder().read_dir().unwrap().map(name).collect();
    assert_eq!(found, expected);
}

/// Opens the stored message as a `B`, compares it and seals it again to the same bytes.
fn check<B: Body + PartialEq + std::fmt::Debug>(name: &str, expected: Option<&B>) {
    let (bytes, _) = hex::read(name);
    let message = verified(&bytes);
    let body: B = message.open().unwrap();
    if let Some(expected) = expected {
        assert_eq!(&body, expected, "{name}");
    }
    let again = fl_wire::seal(message.header(), &body, &samples::key()).unwrap();
    assert!(again == bytes, "{name}");
}

#[test]
fn stored_messages_are_read() {
    for phase in Phase::ALL {
        check::<RoundPlan>(&format!("plan_{phase}"), Some(&samples::plan(phase)));
        let contribution = samples::contribution(phase);
        check::<Contribution>(&format!("contribution_{phase}"), Some(&contribution));
        check::<PartialSum>(&format!("partial_{phase}"), Some(&samples::partial(phase)));
    }
    for (name, plan) in samples::plans_of_tensors() {
        check::<RoundPlan>(name, Some(&plan));
    }
    for (name, entry) in samples::log_entries() {
        check::<LogEntry>(&format!("log_{name}"), Some(&entry));
    }
    check::<Receipt>("receipt_admitted", None);
    check::<Receipt>("receipt_rejected", None);
    check::<SettledNotice>("settled_notice", None);
    check::<RoundSettled>("round_settled", None);
    check::<RosterEntry>("roster_entry", None);
    check::<Hello>("hello", None);
    check::<Welcome>("welcome", None);
    check::<Beat>("beat", None);
    check::<FogBeat>("fog_beat", None);
    check::<Manifest>("manifest", None);
    check::<Manifest>("manifest_of_contribution", None);
    check::<Want>("want", None);
    check::<Decline>("decline", None);
    check::<SpanBatch>("spans", None);
}

#[test]
fn stored_objects_are_read() {
    fn check<T: Encoded>(name: &str) -> T {
        let (bytes, _) = hex::read(name);
        let object = T::decode(&bytes).unwrap();
        assert!(object.encode().unwrap() == bytes, "{name}");
        object
    }
    let parameters: ParameterObject = check("object_parameters");
    assert_eq!(parameters, samples::parameters());
    check::<MomentsObject>("object_moments");
    check::<SnapshotObject>("object_snapshot");
    check::<EnvelopeList>("object_envelopes");
}

#[test]
fn a_message_is_within_what_its_plan_implies() {
    for phase in Phase::ALL {
        let plan = samples::plan(phase);
        let (contribution, _) = hex::read(&format!("contribution_{phase}"));
        assert!(
            contribution.len() <= fl_wire::contribution_bytes_max(&plan),
            "{phase}"
        );
        let (partial, _) = hex::read(&format!("partial_{phase}"));
        assert!(
            partial.len() <= fl_wire::partial_bytes_max(&plan, 3),
            "{phase}"
        );
    }
}
