use fl_model::{Admission, Digest, Epoch, Phase, RoundKey, RoundNumber};
use fl_wire::{Header, SigningKey, seal};

use super::*;
use crate::run::sample;

const OUR_PLAN: &str = "fl/1/north/bcast/plan/air";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

const ROOT: u8 = 1;
const FOG: u8 = 2;
const STRANGER: u8 = 9;

fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn door() -> Door {
    Door::new(
        &member("edge-01"),
        &region("north"),
        key(ROOT).verifying_key(),
    )
}

fn entry(name: &str, of: u8, number: u64, role: Role, of_region: &str) -> Vec<u8> {
    let entry = RosterEntry {
        number,
        member: member(name),
        role,
        region: region(of_region),
        key: key(of).verifying_key().to_bytes(),
        removed: false,
    };
    let header = Header::new(MessageKind::RosterEntry, &member(ROOT_NAME));
    seal(&header.in_region(&entry.region), &entry, &key(ROOT)).unwrap()
}

fn met() -> Door {
    let mut door = door();
    let fog = entry("fog", FOG, 1, Role::Fog, "north");
    door.read("fl/1/north/bcast/fog", &fog).unwrap();
    door
}

fn plan_by(seed: u8) -> Vec<u8> {
    let plan = sample::plan(b"model", b"parameters");
    let header = Header::new(MessageKind::Plan, &member(ROOT_NAME))
        .in_round(&plan.key)
        .under(plan.epoch);
    seal(&header, &plan, &key(seed)).unwrap()
}

fn receipt(device: &str, signer: &str, seed: u8) -> Vec<u8> {
    let receipt = Receipt {
        key: ContributionKey {
            round: RoundKey {
                job: JobId::new("air").unwrap(),
                round: RoundNumber(1),
                phase: Phase::Train,
            },
            device: member(device),
        },
        digest: Digest::of(b"bytes"),
        admission: Admission::Admitted,
    };
    let header = Header::new(MessageKind::Receipt, &member(signer))
        .in_region(&region("north"))
        .in_round(&receipt.key.round)
        .under(Epoch(1));
    seal(&header, &receipt, &key(seed)).unwrap()
}

#[test]
fn the_root_has_a_name_that_may_sign() {
    assert_eq!(door().root.as_str(), ROOT_NAME);
}

#[test]
fn a_plan_is_believed_only_under_the_pinned_key() {
    let read = door().read(OUR_PLAN, &plan_by(ROOT)).unwrap();
    assert!(matches!(read, Incoming::Plan(_)));
    let refusal = door().read(OUR_PLAN, &plan_by(STRANGER)).unwrap_err();
    let message = refusal.to_string();
    assert!(
        message.contains("air") && message.contains("root.public_key"),
        "{message}"
    );
    assert!(refusal.is_worth_a_warning());
    let other_job = door().read("fl/1/north/bcast/plan/water", &plan_by(ROOT));
    assert!(matches!(
        other_job,
        Err(Refusal::Wire(WireError::Job { .. }))
    ));
    let cleared = door().read(OUR_PLAN, &[]).unwrap();
    assert!(matches!(cleared, Incoming::PlanCleared(_)));
}

#[test]
fn a_plan_whose_sums_could_overflow_is_refused() {
    let mut plan = sample::plan(b"model", b"parameters");
    plan.contributions_max = u32::MAX;
    plan.key.phase = Phase::Train;
    plan.key.round = RoundNumber(1);
    plan.work = fl_model::Work::Train(Box::new(sample::train_work(u64::MAX)));
    let header = Header::new(MessageKind::Plan, &member(ROOT_NAME))
        .in_round(&plan.key)
        .under(plan.epoch);
    let bytes = seal(&header, &plan, &key(ROOT)).unwrap();
    let message = door().read(OUR_PLAN, &bytes).unwrap_err().to_string();
    assert!(
        message.contains("2^63") && message.contains("air/1/train"),
        "{message}"
    );
}

#[test]
fn the_fog_is_whom_the_root_names() {
    let topic = "fl/1/north/d/edge-01/dn/receipt";
    let bytes = receipt("edge-01", "fog", FOG);
    assert_eq!(door().read(topic, &bytes), Err(Refusal::NoFog));
    assert!(matches!(
        met().read(topic, &bytes),
        Ok(Incoming::Receipt(_))
    ));
    let forged = receipt("edge-01", "fog", STRANGER);
    let refused = met().read(topic, &forged);
    assert!(matches!(
        refused,
        Err(Refusal::Wire(WireError::BadSignature { .. }))
    ));
    let other = met().read(topic, &receipt("edge-01", "other", FOG));
    assert!(matches!(
        other,
        Err(Refusal::Wire(WireError::Sender { .. }))
    ));
    let misled = met().read(topic, &receipt("edge-02", "fog", FOG));
    assert!(matches!(misled, Err(Refusal::OtherDevice(_))));
}

#[test]
fn a_fog_of_another_role_or_region_is_refused_and_a_later_one_follows() {
    let topic = "fl/1/north/bcast/fog";
    for bad in [
        entry("fog", FOG, 1, Role::Device, "north"),
        entry("fog", FOG, 1, Role::Fog, "south"),
    ] {
        let refused = door().read(topic, &bad);
        assert!(
            matches!(refused, Err(Refusal::NotOurFog { .. })),
            "{refused:?}"
        );
    }
    let mut door = met();
    let next = entry("fog-2", STRANGER, 2, Role::Fog, "north");
    door.read(topic, &next).unwrap();
    door.read(topic, &entry("fog", FOG, 1, Role::Fog, "north"))
        .unwrap();
    let answer = receipt("edge-01", "fog-2", STRANGER);
    let read = door.read("fl/1/north/d/edge-01/dn/receipt", &answer);
    assert!(matches!(read, Ok(Incoming::Receipt(_))), "{read:?}");
}

#[test]
fn foreign_topics_and_bytes_are_refused() {
    let plan = plan_by(ROOT);
    for topic in [
        "",
        "x",
        "fl/1/south/bcast/plan/air",
        "fl/1/north/d/edge-02/dn/receipt",
        "fl/1/north/d/edge-01/up/beat",
    ] {
        let refused = met().read(topic, &plan);
        assert!(
            matches!(refused, Err(Refusal::Topic(_))),
            "{topic}: {refused:?}"
        );
    }
    for bytes in [&b"x"[..], &[0xd2], &[0xff; 300], &plan[..plan.len() - 1]] {
        assert!(met().read(OUR_PLAN, bytes).is_err());
    }
    let large = vec![0; CONTROL_BYTES_MAX + 1];
    let refused = met().read(OUR_PLAN, &large);
    assert!(matches!(
        refused,
        Err(Refusal::Wire(WireError::Oversized { .. }))
    ));
}
