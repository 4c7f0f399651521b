//! Our spans as OTLP messages.
//!
//! Straight to the wire types, because the SDK's exporter knows one resource per process and a fog has one per device.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, Status, span as wire_span, status,
};

use crate::attr::AttrValue;
use crate::resource::{Resource, SpanBatch};
use crate::span::{Kind, RoundSpan};

/// W3C trace flags in the low byte of OTLP's: the trace is recorded.
const SAMPLED: u32 = 1;
const NANOS_PER_MICRO: u64 = 1000;
/// Most spans in one group, so that requests can be cut between groups.
const GROUP_SPANS_MAX: usize = 256;

/// Groups batches by resource, as OTLP wants them.
pub(crate) fn resource_spans(batches: Vec<SpanBatch>) -> Vec<ResourceSpans> {
    let mut by_resource: BTreeMap<Resource, Vec<Span>> = BTreeMap::new();
    for batch in batches {
        by_resource
            .entry(batch.resource)
            .or_default()
            .extend(batch.spans.into_iter().map(span));
    }
    let mut groups = Vec::new();
    for (resource, mut spans) in by_resource {
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(GROUP_SPANS_MAX));
            groups.push(of_one_resource(&resource, spans));
            spans = rest;
        }
    }
    groups
}

fn of_one_resource(resource: &Resource, spans: Vec<Span>) -> ResourceSpans {
    let attributes = resource
        .attributes()
        .map(|(key, value)| key_value(key, AttrValue::Text(value.to_owned())));
    ResourceSpans {
        resource: Some(WireResource {
            attributes: attributes.collect(),
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..Default::default()
            }),
            spans,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    }
}

fn span(span: RoundSpan) -> Span {
    let trace_id = span.trace.as_bytes().to_vec();
    let link = |target: &crate::ids::SpanId| wire_span::Link {
        trace_id: trace_id.clone(),
        span_id: target.as_bytes().to_vec(),
        flags: flags(),
        ..Default::default()
    };
    let event = |event: crate::span::SpanEvent| wire_span::Event {
        time_unix_nano: event.at_us.saturating_mul(NANOS_PER_MICRO),
        name: event.name,
        attributes: attributes(event.attributes),
        dropped_attributes_count: 0,
    };
    Span {
        links: span.links.iter().map(link).collect(),
        span_id: span.id.as_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map(|parent| parent.as_bytes().to_vec())
            .unwrap_or_default(),
        trace_state: String::new(),
        flags: flags(),
        name: span.name,
        kind: kind(span.kind) as i32,
        start_time_unix_nano: span.time.start_us() * NANOS_PER_MICRO,
        end_time_unix_nano: span.time.end_us() * NANOS_PER_MICRO,
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped.attributes,
        events: span.events.into_iter().map(event).collect(),
        dropped_events_count: span.dropped.events,
        dropped_links_count: span.dropped.links,
        status: Some(match span.error {
            Some(message) => Status {
                message,
                code: status::StatusCode::Error as i32,
            },
            None => Status::default(),
        }),
        trace_id,
    }
}

/// Recorded; whether the parent is remote is known to be of no interest here, since ids are derived.
fn flags() -> u32 {
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32
}

fn kind(kind: Kind) -> wire_span::SpanKind {
    match kind {
        Kind::Internal => wire_span::SpanKind::Internal,
        Kind::Client => wire_span::SpanKind::Client,
        Kind::Producer => wire_span::SpanKind::Producer,
        Kind::Consumer => wire_span::SpanKind::Consumer,
    }
}

fn attributes(attributes: Vec<(&'static str, AttrValue)>) -> Vec<KeyValue> {
    attributes
        .into_iter()
        .map(|(key, value)| key_value(key, value))
        .collect()
}

fn key_value(key: &str, value: AttrValue) -> KeyValue {
    let value = match value {
        AttrValue::Flag(flag) => any_value::Value::BoolValue(flag),
        AttrValue::Int(int) => any_value::Value::IntValue(int),
        // JSON has no such numbers, and a reader would refuse the whole file.
        AttrValue::Real(real) if !real.is_finite() => {
            any_value::Value::StringValue(real.to_string())
        }
        AttrValue::Real(real) => any_value::Value::DoubleValue(real),
        AttrValue::Text(text) => any_value::Value::StringValue(text),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}
