use fl_model::{
    ContributionKey, EvaluationCounters, JobId, MemberId, Payload, ROOT_NAME, Role, RosterEntry,
    RoundNumber,
};
use fl_wire::{Encoded as _, EnvelopeList, SigningKey, seal};

use super::*;

fn region() -> RegionId {
    RegionId::new("north").unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("edge-01").unwrap()
}

fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn roster() -> Roster {
    let root = SigningKey::from_bytes(&[1; 32]);
    let entry = RosterEntry {
        number: 1,
        member: device(),
        role: Role::Device,
        region: region(),
        key: device_key().verifying_key().to_bytes(),
        removed: false,
    };
    let name = MemberId::new(ROOT_NAME).unwrap();
    let header = Header::new(MessageKind::RosterEntry, &name).in_region(&region());
    let envelopes = vec![seal(&header, &entry, &root).unwrap()];
    let list = EnvelopeList { envelopes }.encode().unwrap();
    Roster::read(&list, &root.verifying_key(), &region()).unwrap()
}

fn evaluation() -> RoundKey {
    RoundKey {
        job: JobId::new("air").unwrap(),
        round: RoundNumber(3),
        phase: Phase::Evaluate,
    }
}

fn contribution() -> Vec<u8> {
    let round = evaluation();
    let header = Header::new(MessageKind::EvaluateContribution, &device())
        .in_region(&region())
        .in_round(&round);
    let contribution = Contribution {
        key: ContributionKey {
            round,
            device: device(),
        },
        payload: Payload::Evaluation(EvaluationCounters::default()),
    };
    seal(&header, &contribution, &device_key()).unwrap()
}

fn read(topic: &str, payload: &[u8]) -> Result<(DeviceId, Arrival), Box<Refusal>> {
    let (region, roster, open) = (region(), roster(), evaluation());
    let door = Door {
        region: &region,
        roster: &roster,
        open: Some((&open, 4_096)),
    };
    door.read(topic, payload)
}

const TOPIC: &str = "fl/1/north/d/edge-01/up/contribution";

#[test]
fn a_contribution_comes_in_only_as_it_was_signed() {
    let signed = contribution();
    let (from, arrival) = read(TOPIC, &signed).unwrap();
    assert_eq!(from, device());
    let Arrival::Contribution(taken) = arrival else {
        panic!("{arrival:?}");
    };
    assert_eq!(taken.digest, Digest::of(&signed));
    for at in 0..signed.len() {
        let mut damaged = signed.clone();
        damaged[at] ^= 1;
        let refusal = read(TOPIC, &damaged).unwrap_err();
        // Whoever damaged it, it was not the device.
        assert!(!refusal.signed, "byte {at}: {refusal:?}");
        assert!(refusal.contribution && refusal.device == Some(device()));
        assert!(read(TOPIC, &signed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let signed = contribution();
    let check = |topic: &str, payload: &[u8], reason: Reason, named: bool| {
        let refusal = read(topic, payload).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.device.is_some()),
            (reason, named),
            "{topic}"
        );
    };
    check(
        "fl/1/north/d/other/up/contribution",
        &signed,
        Reason::UnknownSender,
        true,
    );
    check(
        "fl/1/south/d/edge-01/up/contribution",
        &signed,
        Reason::Foreign,
        false,
    );
    check("fl/1/north/bcast/fog", &signed, Reason::Foreign, false);
    check("elsewhere", &signed, Reason::Foreign, false);
    check(
        "fl/1/north/d/edge-01/up/hello",
        &signed,
        Reason::Foreign,
        true,
    );
    check(
        "fl/1/north/d/edge-01/up/chunk/0/0",
        &signed,
        Reason::Foreign,
        false,
    );
    check(TOPIC, b"", Reason::Malformed, true);
    check(
        TOPIC,
        &vec![0; MQTT_PAYLOAD_BYTES_MAX + 1],
        Reason::Oversized,
        true,
    );
}

#[test]
fn presence_is_what_it_says_and_gone_otherwise() {
    let check = |payload: &[u8], expected: bool| {
        let (_, arrival) = read("fl/1/north/d/edge-01/presence", payload).unwrap();
        assert!(matches!(arrival, Arrival::Presence(online) if online == expected));
    };
    check(ONLINE, true);
    check(b"offline", false);
    check(b"", false);
}
