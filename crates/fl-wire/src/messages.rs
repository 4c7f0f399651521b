//! Messages that only the wire knows: answers, hellos, heartbeats, transfers and spans.

use fl_model::{
    Admission, ContributionKey, Digest, Epoch, ObjectRef, Outcome, Reason, RegionAbsence, RegionId,
    RoundKey, RoundOutcome,
};

use crate::version::VersionRange;

/// A fog's answer to a contribution, after the fsync of the sum that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Which contribution.
    pub key: ContributionKey,
    /// SHA-256 of its signed bytes.
    pub digest: Digest,
    /// The answer.
    pub admission: Admission,
}

/// A fog tells a device what became of its contribution, once the root's record says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledNotice {
    /// Which contribution.
    pub key: ContributionKey,
    /// What became of it.
    pub outcome: Outcome,
}

/// The root tells the fogs how a phase ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSettled {
    /// The phase.
    pub key: RoundKey,
    /// Whether its sum was taken.
    pub outcome: RoundOutcome,
    /// The partials that are part of it: region and SHA-256 of the signed partial.
    pub accepted: Vec<(RegionId, Digest)>,
    /// Regions that are not in it.
    pub absent: Vec<RegionAbsence>,
    /// Each asked region's time on the root's clock in µs since 1970: from its plan to its partial, or to
    /// the close without it. A fog fits its spans into it.
    pub windows: Vec<(RegionId, (u64, u64))>,
}

/// A device introduces itself, on every connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Versions of the protocol that it speaks.
    pub versions: VersionRange,
    /// Version of the agent, at most [`limits::VERSION_TEXT_BYTES_MAX`] bytes without control characters.
    pub agent: String,
    /// Version of the training runtime, likewise.
    pub runtime: String,
    /// Contributions that are not settled yet, at most [`limits::OUTSTANDING_MAX`].
    pub outstanding: Vec<ContributionKey>,
    /// The highest epoch that it has accepted.
    pub epoch: Epoch,
    /// Transfers that it resumes, at most [`limits::HELLO_WANTS_MAX`].
    pub wants: Vec<Want>,
}

/// What the fog knows of an outstanding contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is in the durable sum: stop sending, keep the bytes.
    Admitted,
    /// It will not be counted.
    Rejected(Reason),
    /// Its round is settled.
    Settled(Outcome),
    /// The round is open and the contribution is not here: send the same bytes.
    SendAgain,
    /// The fog has no record of it: keep the bytes and ask again at the next connect.
    Unknown,
}

/// The fog's answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The fog's wall clock in µs since 1970, when it sent this; for traces only.
    pub fog_time_us: i64,
    /// The version to speak.
    pub version: u32,
    /// An answer to every outstanding contribution, at most [`limits::OUTSTANDING_MAX`].
    pub answers: Vec<(ContributionKey, Answer)>,
}

/// A device says that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The device's wall clock in µs since 1970; for traces only.
    pub sent_us: i64,
    /// What it is working on.
    pub working_on: Option<RoundKey>,
    /// Contributions in its outbox that are not settled.
    pub outstanding: u32,
    /// Why it declines rounds at present, where a gate is shut.
    pub declining: Option<Reason>,
}

/// A fog says that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FogBeat {
    /// Its region.
    pub region: RegionId,
    /// The fog's wall clock in µs since 1970; for traces only.
    pub sent_us: i64,
    /// The highest epoch that it has accepted.
    pub epoch: Epoch,
    /// Devices that are connected.
    pub devices_online: u32,
    /// Devices of the region in its roster.
    pub devices_known: u32,
    /// Partial sums in its outbox that are not settled.
    pub partials_waiting: u32,
    /// The phase that is open here.
    pub open: Option<RoundKey>,
    /// Contributions that the open phase holds.
    pub admitted: u32,
}

/// What a chunked transfer consists of; it precedes the chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The whole.
    pub object: ObjectRef,
    /// Bytes of every chunk but the last, 1 to [`limits::CHUNK_BYTES_MAX`].
    pub chunk_bytes: u32,
    /// SHA-256 of every chunk in order, at most [`limits::CHUNKS_MAX`].
    pub chunks: Vec<Digest>,
    /// The phase that the object is a contribution to; none where it is no contribution.
    pub contribution_to: Option<RoundKey>,
}

/// Which chunks of an object are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The object.
    pub digest: Digest,
    /// Half-open ranges of chunk numbers, ascending and apart, at most [`limits::WANT_RANGES_MAX`];
    /// none at all asks for the manifest and every chunk.
    pub ranges: Vec<(u32, u32)>,
}

/// A device says why it does not take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decline {
    /// In which phase.
    pub key: RoundKey,
    /// Why.
    pub reason: Reason,
    /// The same for people, at most [`limits::DETAIL_BYTES_MAX`] bytes without control characters.
    pub detail: String,
}

/// A value of a span's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// A whole number.
    I64(i64),
    /// A number.
    F64(f64),
    /// A flag.
    Bool(bool),
    /// A text of at most [`limits::SPAN_TEXT_BYTES_MAX`] bytes.
    Text(String),
}

/// An event of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// Name, at most [`limits::SPAN_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// When, in µs since 1970 on the device's clock.
    pub at_us: i64,
    /// At most [`limits::SPAN_ATTRIBUTES_MAX`].
    pub attributes: Vec<(String, AttributeValue)>,
}

/// A span as a device recorded it.
#[derive(Debug, Clone, PartialEq)]
pub struct WireSpan {
    /// Name, at most [`limits::SPAN_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Start, in µs since 1970 on the device's clock.
    pub start_us: i64,
    /// End, on the same clock; not before the start.
    pub end_us: i64,
    /// At most [`limits::SPAN_ATTRIBUTES_MAX`].
    pub attributes: Vec<(String, AttributeValue)>,
    /// What went wrong, where something did, at most [`limits::SPAN_TEXT_BYTES_MAX`] bytes.
    pub error: Option<String>,
    /// At most [`limits::SPAN_EVENTS_MAX`].
    pub events: Vec<SpanEvent>,
}

/// A device's spans of one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanBatch {
    /// The phase.
    pub key: RoundKey,
    /// The device's wall clock in µs since 1970, when it sent this.
    pub stamped_us: i64,
    /// At most [`limits::SPANS_MAX`].
    pub spans: Vec<WireSpan>,
}
