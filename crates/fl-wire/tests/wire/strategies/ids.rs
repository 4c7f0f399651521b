//! Arbitrary names, numbers and keys.

use fl_model::{
    ContributionKey, Digest, Epoch, JobId, MemberId, ObjectRef, Phase, Reason, RegionId, RoundKey,
    RoundNumber, TraceContext,
};
use proptest::prelude::*;
use proptest::sample::select;

pub(super) const NAME: &str = "[A-Za-z0-9][A-Za-z0-9_-]{0,47}";
pub(super) const TEXT: &str = "\\PC{0,12}";

/// Tensors and columns of a value.
pub(super) const TENSORS: std::ops::Range<usize> = 0..4;
pub(super) const COORDINATES: std::ops::Range<usize> = 0..6;

pub(super) fn finite() -> impl Strategy<Value = f32> {
    prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO
}

pub(super) fn wide() -> impl Strategy<Value = f64> {
    use prop::num::f64;
    f64::NORMAL | f64::SUBNORMAL | f64::ZERO | f64::INFINITE
}

pub(super) fn job() -> impl Strategy<Value = JobId> {
    NAME.prop_map(|name| JobId::new(&name).unwrap())
}

pub(super) fn region() -> impl Strategy<Value = RegionId> {
    NAME.prop_map(|name| RegionId::new(&name).unwrap())
}

pub(super) fn member() -> impl Strategy<Value = MemberId> {
    NAME.prop_map(|name| MemberId::new(&name).unwrap())
}

pub(super) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

pub(super) fn object() -> impl Strategy<Value = ObjectRef> {
    (digest(), any::<u64>()).prop_map(|(digest, bytes)| ObjectRef { digest, bytes })
}

pub(super) fn reason() -> impl Strategy<Value = Reason> {
    select(Reason::ALL)
}

pub(super) fn phase() -> impl Strategy<Value = Phase> {
    select(Phase::ALL.to_vec())
}

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

pub(super) fn round_key_of(phase: Phase) -> impl Strategy<Value = RoundKey> {
    (job(), any::<u32>()).prop_map(move |(job, round)| RoundKey {
        job,
        round: RoundNumber(round),
        phase,
    })
}

pub(super) fn round_key() -> impl Strategy<Value = RoundKey> {
    phase().prop_flat_map(round_key_of)
}

pub(super) fn contribution_key() -> impl Strategy<Value = ContributionKey> {
    (round_key(), member()).prop_map(|(round, device)| ContributionKey { round, device })
}

pub(super) fn trace() -> impl Strategy<Value = TraceContext> {
    any::<([u8; 16], [u8; 8])>().prop_map(|(trace_id, span_id)| TraceContext { trace_id, span_id })
}
