//! Arbitrary messages that only the wire knows.

use fl_model::{Admission, ObjectRef, Outcome, Role, RosterEntry};
use fl_wire::{
    Answer, AttributeValue, Beat, Decline, EnvelopeList, FogBeat, Hello, Manifest, Receipt,
    RoundSettled, SettledNotice, SpanBatch, SpanEvent, VersionRange, Want, Welcome, WireSpan,
    limits,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::ids::*;
use super::sums::{outcome_of_round, region_absences};

pub(super) fn admission() -> impl Strategy<Value = Admission> {
    prop_oneof![
        Just(Admission::Admitted),
        reason().prop_map(Admission::Rejected)
    ]
}

pub(super) fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Counted), reason().prop_map(Outcome::Excluded)]
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    (contribution_key(), digest(), admission()).prop_map(|(key, digest, admission)| Receipt {
        key,
        digest,
        admission,
    })
}

pub(crate) fn settled_notice() -> impl Strategy<Value = SettledNotice> {
    (contribution_key(), outcome()).prop_map(|(key, outcome)| SettledNotice { key, outcome })
}

pub(crate) fn round_settled() -> impl Strategy<Value = RoundSettled> {
    let accepted = vec((region(), digest()), 0..4);
    let windows = vec((region(), any::<(u64, u64)>()), 0..4);
    (
        round_key(),
        outcome_of_round(),
        accepted,
        region_absences(),
        windows,
    )
        .prop_map(|(key, outcome, accepted, absent, windows)| RoundSettled {
            key,
            outcome,
            accepted,
            absent,
            windows,
        })
}

pub(crate) fn roster_entry() -> impl Strategy<Value = RosterEntry> {
    let role = select(vec![Role::Device, Role::Fog]);
    (
        any::<u64>(),
        member(),
        role,
        region(),
        any::<([u8; 32], bool)>(),
    )
        .prop_map(
            |(number, member, role, region, (key, removed))| RosterEntry {
                number,
                member,
                role,
                region,
                key,
                removed,
            },
        )
}

pub(crate) fn want() -> impl Strategy<Value = Want> {
    // Gaps and lengths, both of at least one, make ranges that neither touch nor overlap.
    let steps = vec((1u32..1000, 1u32..1000), 0..5);
    (digest(), steps).prop_map(|(digest, steps)| {
        let mut next = 0;
        let ranges = steps.into_iter().map(|(gap, length)| {
            let start = next + gap;
            next = start + length;
            (start, next)
        });
        Want {
            digest,
            ranges: ranges.collect(),
        }
    })
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let versions = any::<(u32, u32)>().prop_map(|(min, max)| VersionRange { min, max });
    let outstanding = vec(contribution_key(), 0..4);
    (
        versions,
        TEXT,
        TEXT,
        outstanding,
        epoch(),
        vec(want(), 0..3),
    )
        .prop_map(
            |(versions, agent, runtime, outstanding, epoch, wants)| Hello {
                versions,
                agent,
                runtime,
                outstanding,
                epoch,
                wants,
            },
        )
}

pub(crate) fn welcome() -> impl Strategy<Value = Welcome> {
    let answer = prop_oneof![
        Just(Answer::Admitted),
        reason().prop_map(Answer::Rejected),
        outcome().prop_map(Answer::Settled),
        Just(Answer::SendAgain),
        Just(Answer::Unknown),
    ];
    (any::<(i64, u32)>(), vec((contribution_key(), answer), 0..4)).prop_map(
        |((fog_time_us, version), answers)| Welcome {
            fog_time_us,
            version,
            answers,
        },
    )
}

pub(crate) fn beat() -> impl Strategy<Value = Beat> {
    (
        any::<(i64, u32)>(),
        option::of(round_key()),
        option::of(reason()),
    )
        .prop_map(|((sent_us, outstanding), working_on, declining)| Beat {
            sent_us,
            working_on,
            outstanding,
            declining,
        })
}

pub(crate) fn fog_beat() -> impl Strategy<Value = FogBeat> {
    (
        region(),
        any::<(i64, [u32; 4])>(),
        epoch(),
        option::of(round_key()),
    )
        .prop_map(|(region, (sent_us, counts), epoch, open)| FogBeat {
            region,
            sent_us,
            epoch,
            devices_online: counts[0],
            devices_known: counts[1],
            partials_waiting: counts[2],
            open,
            admitted: counts[3],
        })
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    let chunk_bytes = 1..=limits::CHUNK_BYTES_MAX as u32;
    let to = option::of(round_key());
    (digest(), chunk_bytes, vec(digest(), 0..6), any::<u32>(), to).prop_map(
        |(digest, chunk_bytes, chunks, rest, contribution_to)| {
            let last = u64::from(rest % chunk_bytes + 1);
            let before = chunks.len().saturating_sub(1) as u64 * u64::from(chunk_bytes);
            let bytes = if chunks.is_empty() { 0 } else { before + last };
            Manifest {
                object: ObjectRef { digest, bytes },
                chunk_bytes,
                chunks,
                contribution_to,
            }
        },
    )
}

pub(crate) fn decline() -> impl Strategy<Value = Decline> {
    (round_key(), reason(), TEXT).prop_map(|(key, reason, detail)| Decline {
        key,
        reason,
        detail,
    })
}

pub(super) fn attributes() -> impl Strategy<Value = Vec<(String, AttributeValue)>> {
    let value = prop_oneof![
        any::<i64>().prop_map(AttributeValue::I64),
        wide().prop_map(AttributeValue::F64),
        any::<bool>().prop_map(AttributeValue::Bool),
        TEXT.prop_map(AttributeValue::Text),
    ];
    vec((TEXT, value), 0..4)
}

pub(super) fn span() -> impl Strategy<Value = WireSpan> {
    let event =
        ("[a-z.]{0,32}", any::<i64>(), attributes()).prop_map(|(name, at_us, attributes)| {
            SpanEvent {
                name,
                at_us,
                attributes,
            }
        });
    let time = any::<(i32, u32)>();
    (
        "[a-z ]{0,32}",
        time,
        attributes(),
        option::of(TEXT),
        vec(event, 0..3),
    )
        .prop_map(
            |(name, (start, length), attributes, error, events)| WireSpan {
                name,
                start_us: start.into(),
                end_us: i64::from(start) + i64::from(length),
                attributes,
                error,
                events,
            },
        )
}

pub(crate) fn span_batch() -> impl Strategy<Value = SpanBatch> {
    (round_key(), any::<i64>(), vec(span(), 0..4)).prop_map(|(key, stamped_us, spans)| SpanBatch {
        key,
        stamped_us,
        spans,
    })
}

pub(crate) fn envelopes() -> impl Strategy<Value = EnvelopeList> {
    vec(vec(any::<u8>(), 0..20), 0..4).prop_map(|envelopes| EnvelopeList { envelopes })
}
