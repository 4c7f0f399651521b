//! Trace and span ids, derived so that root, fog and device agree on them without talking.
//!
//! A trace id is the truncated SHA-256 of (job, round, attempt), a span id that of (trace, unit). Ids of zero, which
//! W3C Trace Context forbids, are mapped to one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::DevicePhase;

/// Separates the domain of trace ids from that of span ids.
const TRACE_DOMAIN: &[u8] = b"fl/trace/1";
const SPAN_DOMAIN: &[u8] = b"fl/span/1";

/// The only version of the W3C `traceparent` header that is written; any but `ff` is read.
const TRACEPARENT_VERSION: &str = "00";
/// W3C trace flag: the trace is recorded.
const FLAG_SAMPLED: u8 = 1;

/// A trace: one attempt at one round of one job. Shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceId([u8; 16]);

/// One span of a trace. Shown as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// Why a text is no id or no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Wrong length, or a character that is no lower-case hex digit.
    #[error("{what} {text:?} must be {digits} lower-case hex digits")]
    Hex {
        /// Which id was read.
        what: &'static str,
        /// What was read.
        text: String,
        /// How many digits it should have.
        digits: usize,
    },
    /// All zero, which W3C Trace Context forbids.
    #[error("{what} is all zero, which is no valid id")]
    Zero {
        /// Which id was read.
        what: &'static str,
    },
    /// Not of the form `00-{trace}-{span}-{flags}`.
    #[error("traceparent {0:?} must look like 00-<32 hex digits>-<16 hex digits>-01")]
    TraceParent(String),
}

impl TraceId {
    /// The id of the trace of `round` of `job`; `attempt` is 0 unless the round was abandoned and opened again.
    pub fn of_round(job: &str, round: u32, attempt: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(TRACE_DOMAIN);
        update_with_text(&mut hash, job);
        hash.update(round.to_be_bytes());
        hash.update(attempt.to_be_bytes());
        Self(never_zero(truncate(hash)))
    }

    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_hex("trace id", text).map(Self)
    }

    /// Reads an id as it stands in an OTLP message: 16 bytes, not all zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 16] = bytes.try_into().ok()?;
        (id != [0; 16]).then_some(Self(id))
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// The id of the span of `unit` in `trace`.
    pub fn of_unit(trace: &TraceId, unit: &Unit<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(SPAN_DOMAIN);
        hash.update(trace.0);
        update_with_text(&mut hash, &unit.to_string());
        Self(never_zero(truncate(hash)))
    }

    /// Reads 16 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_hex("span id", text).map(Self)
    }

    /// Reads an id as it stands in an OTLP message: 8 bytes, not all zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 8] = bytes.try_into().ok()?;
        (id != [0; 8]).then_some(Self(id))
    }

    /// The 8 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// A unit of a round that has a span. Its text form is what span ids are derived from: changing it changes the
/// protocol, because fogs and devices compute their parents from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit<'a> {
    /// The whole round; the only span without a parent.
    Round,
    /// The root writes the round's first log entry. Exported at once, so that a running round has a title.
    Open,
    /// The nth note of a long round about what it waits for.
    Waiting(u32),
    /// The root publishes the plan.
    PublishPlan,
    /// The root publishes the model.
    PublishModel,
    /// One region's part: plan sent → partial accepted, or deadline. Owned by the root.
    Region(&'a str),
    /// A fog fetches the model.
    FetchModel(&'a str),
    /// A fog hands plan and model to its devices.
    Broadcast(&'a str),
    /// The nth time a fog came back during the round (from 0).
    Recover(&'a str, u32),
    /// A fog closes its region and sums up.
    Close(&'a str),
    /// A fog publishes its partial sum.
    PublishPartial(&'a str),
    /// The root accepts a region's partial sum.
    AcceptPartial(&'a str),
    /// One device's part: broadcast → receipt or dropout. Owned by the fog.
    Device(&'a str),
    /// One phase of a device. Timed by the device, exported by its fog.
    Phase(&'a str, DevicePhase),
    /// A fog verifies and adds a device's contribution.
    Admit(&'a str),
    /// A leader took over under this epoch.
    Failover(u64),
    /// The root merges the regions and steps the server optimiser.
    Merge,
    /// The evaluation phase.
    Evaluate,
    /// One region's part of the evaluation phase. Owned by the root.
    EvaluateRegion(&'a str),
    /// The root records the round.
    Record,
}

impl Unit<'_> {
    /// The unit whose span is this unit's parent; none for the round.
    pub fn parent(&self) -> Option<Self> {
        Some(match *self {
            Unit::Round => return None,
            Unit::Open
            | Unit::Waiting(_)
            | Unit::PublishPlan
            | Unit::PublishModel
            | Unit::Region(_)
            | Unit::Failover(_)
            | Unit::Merge
            | Unit::Evaluate
            | Unit::Record => Unit::Round,
            Unit::FetchModel(region)
            | Unit::Broadcast(region)
            | Unit::Recover(region, _)
            | Unit::Close(region)
            | Unit::PublishPartial(region)
            | Unit::AcceptPartial(region) => Unit::Region(region),
            Unit::Phase(device, _) | Unit::Admit(device) => Unit::Device(device),
            Unit::EvaluateRegion(_) => Unit::Evaluate,
            // The one unit whose parent its own name does not tell.
            Unit::Device(_) => return None,
        })
    }
}

impl fmt::Display for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unit::Round => write!(f, "round"),
            Unit::Open => write!(f, "open"),
            Unit::Waiting(n) => write!(f, "waiting/{n}"),
            Unit::PublishPlan => write!(f, "publish-plan"),
            Unit::PublishModel => write!(f, "publish-model"),
            Unit::Region(region) => write!(f, "region/{region}"),
            Unit::FetchModel(region) => write!(f, "region/{region}/fetch-model"),
            Unit::Broadcast(region) => write!(f, "region/{region}/broadcast"),
            Unit::Recover(region, n) => write!(f, "region/{region}/recover/{n}"),
            Unit::Close(region) => write!(f, "region/{region}/close"),
            Unit::PublishPartial(region) => write!(f, "region/{region}/publish-partial"),
            Unit::AcceptPartial(region) => write!(f, "region/{region}/accept-partial"),
            Unit::Device(device) => write!(f, "device/{device}"),
            Unit::Phase(device, phase) => write!(f, "device/{device}/{}", phase.as_str()),
            Unit::Admit(device) => write!(f, "device/{device}/admit"),
            Unit::Failover(epoch) => write!(f, "failover/{epoch}"),
            Unit::Merge => write!(f, "merge"),
            Unit::Evaluate => write!(f, "evaluate"),
            Unit::EvaluateRegion(region) => write!(f, "evaluate/{region}"),
            Unit::Record => write!(f, "record"),
        }
    }
}

/// Which round a span belongs to; everything that ids are derived from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundContext {
    /// The job's name.
    pub job: String,
    /// The round's number; 0 is the statistics round.
    pub round: u32,
    /// Counts how often the round was abandoned and opened again, from 0.
    pub attempt: u32,
    /// Derived from the three above.
    pub trace: TraceId,
}

impl RoundContext {
    /// The context of `round` of `job`, at its `attempt` (0 at first).
    pub fn new(job: &str, round: u32, attempt: u32) -> Self {
        Self {
            job: job.to_owned(),
            round,
            attempt,
            trace: TraceId::of_round(job, round, attempt),
        }
    }

    /// The id of `unit` in this round's trace.
    pub fn span_id(&self, unit: &Unit<'_>) -> SpanId {
        SpanId::of_unit(&self.trace, unit)
    }

    /// What travels with messages that belong to `unit`; the plan carries that of [`Unit::Round`].
    pub fn traceparent(&self, unit: &Unit<'_>) -> TraceParent {
        TraceParent {
            trace: self.trace,
            span: self.span_id(unit),
        }
    }
}

/// A W3C `traceparent` (Trace Context, level 1), always sampled when written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that is the parent of whatever the receiver does.
    pub span: SpanId,
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{TRACEPARENT_VERSION}-{}-{}-{FLAG_SAMPLED:02x}",
            self.trace, self.span
        )
    }
}

impl FromStr for TraceParent {
    type Err = IdError;

    /// Reads any version but `ff`; a later version may carry more fields behind the flags.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::TraceParent(text.chars().take(80).collect());
        let mut fields = text.split('-');
        let version = fields.next().ok_or_else(malformed)?;
        let (trace, span, flags) = match (fields.next(), fields.next(), fields.next()) {
            (Some(trace), Some(span), Some(flags)) => (trace, span, flags),
            _ => return Err(malformed()),
        };
        let more = fields.next().is_some();
        let well_formed = is_lower_hex(version, 2)
            && version != "ff"
            && is_lower_hex(flags, 2)
            && !(more && version == TRACEPARENT_VERSION);
        if !well_formed {
            return Err(malformed());
        }
        Ok(Self {
            trace: TraceId::parse(trace)?,
            span: SpanId::parse(span)?,
        })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TraceId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

/// Length first, so that no two sequences of fields have the same bytes.
fn update_with_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn truncate<const N: usize>(hash: Sha256) -> [u8; N] {
    let digest = hash.finalize();
    let mut id = [0; N];
    id.copy_from_slice(&digest[..N]);
    id
}

fn never_zero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if id.iter().all(|byte| *byte == 0) {
        id[N - 1] = 1;
    }
    id
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn parse_hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], IdError> {
    if !is_lower_hex(text, 2 * N) {
        return Err(IdError::Hex {
            what,
            text: text.chars().take(40).collect(),
            digits: 2 * N,
        });
    }
    let mut id = [0; N];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (hex_digit(pair[0]) << 4) | hex_digit(pair[1]);
    }
    if id.iter().all(|byte| *byte == 0) {
        return Err(IdError::Zero { what });
    }
    Ok(id)
}

/// The value of a digit that [`is_lower_hex`] has let through.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_fixed_for_all_time() {
        let context = RoundContext::new("air", 17, 0);
        let device = context.span_id(&Unit::Device("edge-03"));
        // Computed apart from this code, with Python's hashlib.
        assert_eq!(
            context.trace.to_string(),
            "17071b0b6ea3993cea572d797a8aca9b"
        );
        assert_eq!(device.to_string(), "4b425995a01b14eb");
    }

    #[test]
    fn ids_differ_by_every_field() {
        let ids: BTreeSet<_> = [
            ("a", 1, 0),
            ("b", 1, 0),
            ("a", 2, 0),
            ("a", 1, 1),
            ("a1", 1, 0),
        ]
        .into_iter()
        .map(|(job, round, attempt)| TraceId::of_round(job, round, attempt))
        .collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn zero_becomes_one() {
        assert_eq!(never_zero([0; 8]), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(never_zero([3, 0]), [3, 0]);
    }

    #[test]
    fn traceparent_round_trips() {
        let sent = RoundContext::new("air", 3, 0).traceparent(&Unit::Region("north"));
        assert_eq!(sent.to_string().parse(), Ok(sent));
        let later = format!("01-{}-{}-03-more", sent.trace, sent.span);
        assert_eq!(later.parse(), Ok(sent));
    }

    #[test]
    fn foreign_traceparents_are_refused() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert!(
            format!("00-{trace}-{span}-01")
                .parse::<TraceParent>()
                .is_ok()
        );
        for text in [
            String::new(),
            "00".into(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}-1"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}é-{span}-01"),
        ] {
            assert!(text.parse::<TraceParent>().is_err(), "{text:?} was taken");
        }
    }
}
