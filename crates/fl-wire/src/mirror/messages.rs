//! Messages that only the wire knows, and their bounds.

use fl_model::{
    Admission, ContributionKey, Digest, Epoch, ObjectRef, Outcome, Reason, RegionAbsence, RegionId,
    RoundKey, RoundOutcome,
};

use crate::cbor::{mirror_enum, mirror_struct};
use crate::error::WireError;
use crate::limits;
use crate::messages::{
    Answer, AttributeValue, Beat, Decline, FogBeat, Hello, Manifest, Receipt, RoundSettled,
    SettledNotice, SpanBatch, SpanEvent, Want, Welcome, WireSpan,
};
use crate::version::VersionRange;

mirror_struct! {
    Receipt, "receipt", ReceiptMirror {
        key: ContributionKey,
        digest: Digest,
        admission: Admission,
    }
}

mirror_struct! {
    SettledNotice, "settled notice", SettledNoticeMirror {
        key: ContributionKey,
        outcome: Outcome,
    }
}

mirror_struct! {
    RoundSettled, "settled round", RoundSettledMirror {
        key: RoundKey,
        outcome: RoundOutcome,
        accepted: Vec<(RegionId, Digest)>,
        absent: Vec<RegionAbsence>,
        windows: Vec<(RegionId, (u64, u64))>,
    }
}

mirror_struct! {
    VersionRange, "version range", VersionRangeMirror { min: u32, max: u32 }
}

mirror_struct! {
    Hello, "hello", HelloMirror {
        versions: VersionRange,
        agent: String,
        runtime: String,
        outstanding: Vec<ContributionKey>,
        epoch: Epoch,
        wants: Vec<Want>,
    } check check_hello
}

mirror_enum! {
    Answer, "answer", AnswerMirror {
        Admitted,
        Rejected(Reason),
        Settled(Outcome),
        SendAgain,
        Unknown,
    }
}

mirror_struct! {
    Welcome, "welcome", WelcomeMirror {
        fog_time_us: i64,
        version: u32,
        answers: Vec<(ContributionKey, Answer)>,
    } check check_welcome
}

mirror_struct! {
    Beat, "heartbeat", BeatMirror {
        sent_us: i64,
        working_on: Option<RoundKey>,
        outstanding: u32,
        declining: Option<Reason>,
    }
}

mirror_struct! {
    FogBeat, "fog heartbeat", FogBeatMirror {
        region: RegionId,
        sent_us: i64,
        epoch: Epoch,
        devices_online: u32,
        devices_known: u32,
        partials_waiting: u32,
        open: Option<RoundKey>,
        admitted: u32,
    }
}

mirror_struct! {
    Manifest, "manifest", ManifestMirror {
        object: ObjectRef,
        chunk_bytes: u32,
        chunks: Vec<Digest>,
        contribution_to: Option<RoundKey>,
    } check check_manifest
}

mirror_struct! {
    Want, "list of missing chunks", WantMirror {
        digest: Digest,
        ranges: Vec<(u32, u32)>,
    } check check_want
}

mirror_struct! {
    Decline, "decline", DeclineMirror {
        key: RoundKey,
        reason: Reason,
        detail: String,
    } check check_decline
}

mirror_enum! {
    AttributeValue, "attribute", AttributeValueMirror {
        I64(i64),
        F64(f64),
        Bool(bool),
        Text(String),
    }
}

mirror_struct! {
    SpanEvent, "span event", SpanEventMirror {
        name: String,
        at_us: i64,
        attributes: Vec<(String, AttributeValue)>,
    } check check_event
}

mirror_struct! {
    WireSpan, "span", WireSpanMirror {
        name: String,
        start_us: i64,
        end_us: i64,
        attributes: Vec<(String, AttributeValue)>,
        error: Option<String>,
        events: Vec<SpanEvent>,
    } check check_span
}

mirror_struct! {
    SpanBatch, "spans", SpanBatchMirror {
        key: RoundKey,
        stamped_us: i64,
        spans: Vec<WireSpan>,
    } check check_batch
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), WireError> {
    if count <= limit {
        return Ok(());
    }
    Err(WireError::value(what, format!("{count} exceeds {limit}")))
}

/// Text for people is shown on terminals, which obey control characters.
fn printable(what: &'static str, text: &str) -> Result<(), WireError> {
    if text.contains(char::is_control) {
        return Err(WireError::value(what, "it has a control character"));
    }
    Ok(())
}

fn check_hello(hello: &Hello) -> Result<(), WireError> {
    printable("agent's version", &hello.agent)?;
    printable("runtime's version", &hello.runtime)?;
    at_most(
        "length of the agent's version",
        hello.agent.len(),
        limits::VERSION_TEXT_BYTES_MAX,
    )?;
    at_most(
        "length of the runtime's version",
        hello.runtime.len(),
        limits::VERSION_TEXT_BYTES_MAX,
    )?;
    at_most(
        "number of outstanding keys",
        hello.outstanding.len(),
        limits::OUTSTANDING_MAX,
    )?;
    at_most(
        "number of resumed transfers",
        hello.wants.len(),
        limits::HELLO_WANTS_MAX,
    )
}

fn check_welcome(welcome: &Welcome) -> Result<(), WireError> {
    at_most(
        "number of answers",
        welcome.answers.len(),
        limits::OUTSTANDING_MAX,
    )
}

/// The chunks make up the object, no more and no less.
fn check_manifest(manifest: &Manifest) -> Result<(), WireError> {
    let Manifest {
        object,
        chunk_bytes,
        chunks,
        contribution_to: _,
    } = manifest;
    at_most("number of chunks", chunks.len(), limits::CHUNKS_MAX)?;
    at_most(
        "size of a chunk",
        *chunk_bytes as usize,
        limits::CHUNK_BYTES_MAX,
    )?;
    let needed = object
        .bytes
        .checked_div(u64::from(*chunk_bytes))
        .map(|whole| {
            let rest = object.bytes % u64::from(*chunk_bytes);
            whole + u64::from(rest > 0)
        });
    if needed == Some(chunks.len() as u64) {
        return Ok(());
    }
    let problem = format!(
        "{} chunks of {chunk_bytes} bytes do not make up {} bytes",
        chunks.len(),
        object.bytes
    );
    Err(WireError::value("manifest", problem))
}

fn check_want(want: &Want) -> Result<(), WireError> {
    at_most(
        "number of ranges",
        want.ranges.len(),
        limits::WANT_RANGES_MAX,
    )?;
    let mut end_before = None;
    for &(start, end) in &want.ranges {
        if start >= end || end_before.is_some_and(|before| start <= before) {
            return Err(WireError::value(
                "ranges",
                "they are empty, overlap or touch",
            ));
        }
        end_before = Some(end);
    }
    Ok(())
}

fn check_decline(decline: &Decline) -> Result<(), WireError> {
    printable("detail", &decline.detail)?;
    at_most(
        "length of the detail",
        decline.detail.len(),
        limits::DETAIL_BYTES_MAX,
    )
}

fn check_attributes(attributes: &[(String, AttributeValue)]) -> Result<(), WireError> {
    at_most(
        "number of attributes",
        attributes.len(),
        limits::SPAN_ATTRIBUTES_MAX,
    )?;
    for (key, value) in attributes {
        at_most(
            "length of an attribute's key",
            key.len(),
            limits::SPAN_TEXT_BYTES_MAX,
        )?;
        if let AttributeValue::Text(text) = value {
            at_most(
                "length of an attribute",
                text.len(),
                limits::SPAN_TEXT_BYTES_MAX,
            )?;
        }
    }
    Ok(())
}

fn check_event(event: &SpanEvent) -> Result<(), WireError> {
    at_most(
        "length of an event's name",
        event.name.len(),
        limits::SPAN_NAME_BYTES_MAX,
    )?;
    check_attributes(&event.attributes)
}

fn check_span(span: &WireSpan) -> Result<(), WireError> {
    at_most(
        "length of a span's name",
        span.name.len(),
        limits::SPAN_NAME_BYTES_MAX,
    )?;
    at_most(
        "number of events",
        span.events.len(),
        limits::SPAN_EVENTS_MAX,
    )?;
    let error_bytes = span.error.as_ref().map_or(0, String::len);
    at_most(
        "length of a span's error",
        error_bytes,
        limits::SPAN_TEXT_BYTES_MAX,
    )?;
    if span.end_us < span.start_us {
        return Err(WireError::value("span", "it ends before it starts"));
    }
    check_attributes(&span.attributes)
}

fn check_batch(batch: &SpanBatch) -> Result<(), WireError> {
    at_most("number of spans", batch.spans.len(), limits::SPANS_MAX)
}
