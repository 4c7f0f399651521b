//! Does a finished round read well? The rules that keep a round's trace whole in Jaeger, over OTLP spans.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, Span, span::SpanKind, status::StatusCode,
};

use crate::attr::{self, AttrValue};
use crate::ids::{SpanId, TraceId};
use crate::sampling::SPANS_MAX;
use crate::span::{ATTRIBUTES_MAX, EVENTS_MAX, LINKS_MAX, TEXT_BYTES_MAX};

const NANOS_PER_MICRO: u64 = 1000;
/// Most findings of one trace that are worth reading.
const FINDINGS_MAX: usize = 50;

/// A span as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectedSpan {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub id: SpanId,
    /// Its parent; none for the root.
    pub parent: Option<SpanId>,
    /// `service.name`.
    pub service: String,
    /// Attributes of the resource.
    pub resource: BTreeMap<String, AttrValue>,
    /// Its name.
    pub name: String,
    /// `internal`, `client`, `server`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// Start [µs since 1970].
    pub start_us: u64,
    /// End [µs since 1970].
    pub end_us: u64,
    /// Its attributes.
    pub attributes: BTreeMap<String, AttrValue>,
    /// How many attributes came, counting a name that came twice as two.
    pub attribute_count: usize,
    /// Names of its events.
    pub events: Vec<String>,
    /// Links: trace and span.
    pub links: Vec<(TraceId, SpanId)>,
    /// The message of its error status; none without.
    pub error: Option<String>,
}

impl CollectedSpan {
    /// The text of an attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.attributes.get(key) {
            Some(AttrValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The whole number of an attribute.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.attributes.get(key) {
            Some(AttrValue::Int(int)) => Some(*int),
            _ => None,
        }
    }

    /// The flag of an attribute.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.attributes.get(key) {
            Some(AttrValue::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }
}

/// Reads an OTLP JSON file, such as a demo's `traces.json`.
pub fn read_json(json: &str) -> Result<Vec<CollectedSpan>, String> {
    let request: ExportTraceServiceRequest =
        serde_json::from_str(json).map_err(|error| format!("not OTLP JSON: {error}"))?;
    collect(&request.resource_spans)
}

/// Flattens OTLP groups; an id that is no id is an error.
pub(crate) fn collect(groups: &[ResourceSpans]) -> Result<Vec<CollectedSpan>, String> {
    let mut spans = Vec::new();
    for group in groups {
        let resource = attributes(
            group
                .resource
                .as_ref()
                .map_or(&[][..], |resource| &resource.attributes),
        );
        let service = match resource.get("service.name") {
            Some(AttrValue::Text(service)) => service.clone(),
            _ => return Err("a resource without service.name".to_owned()),
        };
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push(collect_span(span, &service, &resource)?);
        }
    }
    Ok(spans)
}

fn collect_span(
    span: &Span,
    service: &str,
    resource: &BTreeMap<String, AttrValue>,
) -> Result<CollectedSpan, String> {
    let bad = |what: &str| format!("span {:?} of {service}: {what} is no valid id", span.name);
    let parent = match span.parent_span_id.as_slice() {
        [] => None,
        bytes => Some(SpanId::from_bytes(bytes).ok_or_else(|| bad("parent"))?),
    };
    let links = span.links.iter().map(|link| {
        let trace = TraceId::from_bytes(&link.trace_id).ok_or_else(|| bad("a link's trace"))?;
        Ok((
            trace,
            SpanId::from_bytes(&link.span_id).ok_or_else(|| bad("a link's span"))?,
        ))
    });
    let status = span.status.as_ref();
    Ok(CollectedSpan {
        trace: TraceId::from_bytes(&span.trace_id).ok_or_else(|| bad("trace"))?,
        id: SpanId::from_bytes(&span.span_id).ok_or_else(|| bad("span"))?,
        parent,
        service: service.to_owned(),
        resource: resource.clone(),
        name: span.name.clone(),
        kind: match span.kind() {
            SpanKind::Internal => "internal",
            SpanKind::Client => "client",
            SpanKind::Server => "server",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Unspecified => "unspecified",
        },
        start_us: span.start_time_unix_nano / NANOS_PER_MICRO,
        end_us: span.end_time_unix_nano / NANOS_PER_MICRO,
        attributes: attributes(&span.attributes),
        attribute_count: span.attributes.len(),
        events: span.events.iter().map(|event| event.name.clone()).collect(),
        links: links.collect::<Result<_, String>>()?,
        error: status
            .filter(|status| status.code() == StatusCode::Error)
            .map(|status| status.message.clone()),
    })
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, AttrValue> {
    let value = |pair: &KeyValue| {
        Some(match pair.value.as_ref()?.value.as_ref()? {
            any_value::Value::BoolValue(flag) => AttrValue::Flag(*flag),
            any_value::Value::IntValue(int) => AttrValue::Int(*int),
            any_value::Value::DoubleValue(real) => AttrValue::Real(*real),
            any_value::Value::StringValue(text) => AttrValue::Text(text.clone()),
            other => AttrValue::Text(format!("{other:?}")),
        })
    };
    pairs
        .iter()
        .filter_map(|pair| Some((pair.key.clone(), value(pair)?)))
        .collect()
}

/// Holds one finished round's spans against the rules; empty when it reads well. Each finding names the span.
///
/// The rules: one root, named `round n`; no orphan; every child inside its parent's time; no span that ends in the
/// microsecond in which a sibling starts; links that lead to a span of the trace and not to the own parent; `fl.job`
/// and `fl.round` everywhere, `fl.region` and `fl.device` below the root's own spans; `error.type` with every error;
/// and the caps.
pub fn findings(spans: &[CollectedSpan]) -> Vec<String> {
    let mut findings = Vec::new();
    let by_id: BTreeMap<SpanId, &CollectedSpan> =
        spans.iter().map(|span| (span.id, span)).collect();
    if by_id.len() != spans.len() {
        findings.push("two spans share an id".to_owned());
    }
    if by_id.len() > SPANS_MAX {
        findings.push(format!("{} spans in one trace", by_id.len()));
    }
    let traces: BTreeSet<_> = spans.iter().map(|span| span.trace).collect();
    if traces.len() != 1 {
        findings.push(format!("spans of {} traces", traces.len()));
    }
    findings.extend(root_finding(&by_id));
    let mut children: BTreeMap<SpanId, Vec<&CollectedSpan>> = BTreeMap::new();
    for span in by_id.values() {
        check_alone(span, &mut findings);
        check_links(span, &by_id, &mut findings);
        let Some(parent_id) = span.parent else {
            continue;
        };
        let Some(parent) = by_id.get(&parent_id) else {
            findings.push(format!("{}: orphan", span.name));
            continue;
        };
        children.entry(parent_id).or_default().push(span);
        if span.start_us < parent.start_us || span.end_us > parent.end_us {
            findings.push(format!(
                "{}: outside the time of its parent {}",
                span.name, parent.name
            ));
        }
    }
    check_siblings(&children, &mut findings);
    findings.truncate(FINDINGS_MAX);
    findings
}

fn root_finding(by_id: &BTreeMap<SpanId, &CollectedSpan>) -> Option<String> {
    let roots: Vec<&str> = by_id
        .values()
        .filter(|span| span.parent.is_none())
        .map(|span| span.name.as_str())
        .collect();
    match roots[..] {
        [root] if root.starts_with("round ") => None,
        _ => Some(format!(
            "{} roots: {}",
            roots.len(),
            roots.iter().take(4).copied().collect::<Vec<_>>().join(", ")
        )),
    }
}

fn check_alone(span: &CollectedSpan, findings: &mut Vec<String>) {
    let mut needed = vec![attr::JOB.name(), attr::ROUND.name()];
    if span.service != "cloud-root" {
        needed.push(attr::REGION.name());
    }
    if span.service == "edge-agent" || span.name.starts_with("device ") {
        needed.push(attr::DEVICE.name());
    }
    if span.error.is_some() {
        needed.push(attr::ERROR_TYPE.name());
    }
    for key in needed {
        if !span.attributes.contains_key(key) {
            findings.push(format!("{}: no {key}", span.name));
        }
    }
    if span.start_us >= span.end_us {
        findings.push(format!("{}: takes no time", span.name));
    }
    let counts = (span.attribute_count, span.events.len(), span.links.len());
    if counts.0 > ATTRIBUTES_MAX || counts.1 > EVENTS_MAX || counts.2 > LINKS_MAX {
        findings.push(format!(
            "{}: over its caps (attributes, events, links: {counts:?})",
            span.name
        ));
    }
    if span.attribute_count != span.attributes.len() {
        findings.push(format!("{}: an attribute came twice", span.name));
    }
    let texts = span.attributes.values().filter_map(|value| match value {
        AttrValue::Text(text) => Some(text),
        _ => None,
    });
    if texts
        .chain([&span.name])
        .chain(&span.error)
        .any(|text| text.len() > TEXT_BYTES_MAX)
    {
        findings.push(format!("{}: a text over {TEXT_BYTES_MAX} bytes", span.name));
    }
}

fn check_links(
    span: &CollectedSpan,
    by_id: &BTreeMap<SpanId, &CollectedSpan>,
    findings: &mut Vec<String>,
) {
    for (trace, target) in &span.links {
        if *trace == span.trace && !by_id.contains_key(target) {
            findings.push(format!("{}: link to a span that is not there", span.name));
        }
        if Some(*target) == span.parent {
            findings.push(format!("{}: links to its own parent", span.name));
        }
    }
}

fn check_siblings(children: &BTreeMap<SpanId, Vec<&CollectedSpan>>, findings: &mut Vec<String>) {
    for siblings in children.values() {
        let starts: BTreeSet<u64> = siblings.iter().map(|span| span.start_us).collect();
        let touching = siblings.iter().filter(|span| starts.contains(&span.end_us));
        findings.extend(touching.map(|span| {
            format!(
                "{}: ends in the microsecond in which a sibling starts; Jaeger then skips one",
                span.name
            )
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Interval;
    use crate::ids::{RoundContext, Unit};
    use crate::otlp::resource_spans;
    use crate::resource::{Identity, Resource, Service, SpanBatch};
    use crate::span::{Kind, RoundSpan};

    fn round() -> (RoundContext, Vec<CollectedSpan>) {
        let context = RoundContext::new("air", 5, 0);
        let span = |unit, name, time| RoundSpan::new(&context, unit, name, Kind::Internal, time);
        let spans = vec![
            span(Unit::Round, "round 5", Interval::new(1_000, 9_000)),
            span(Unit::Open, "open round 5", Interval::new(1_000, 2_000)),
            span(Unit::Merge, "merge", Interval::new(3_000, 4_000)).link(&context, Unit::Open),
        ];
        let identity = Identity {
            service: Service::CloudRoot,
            instance: "root".into(),
            version: "0.1.0".into(),
            environment: String::new(),
            host: String::new(),
            region: None,
        };
        let batch = SpanBatch {
            resource: Resource::new(&identity),
            spans,
        };
        (
            context.clone(),
            collect(&resource_spans(vec![batch])).expect("ids are valid"),
        )
    }

    /// Spoils a good round and expects exactly one kind of finding.
    fn check(expected: &str, spoil: impl FnOnce(&mut Vec<CollectedSpan>)) {
        let (_, mut spans) = round();
        spoil(&mut spans);
        let found = findings(&spans);
        assert!(
            !found.is_empty() && found.iter().all(|found| found.contains(expected)),
            "{expected}: {found:?}"
        );
    }

    #[test]
    fn a_good_round_has_no_findings() {
        assert_eq!(findings(&round().1), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let (context, _) = round();
        check("2 roots", |spans| spans[1].parent = None);
        check("1 roots: ground 5", |spans| {
            spans[0].name = "ground 5".into()
        });
        check("orphan", |spans| {
            spans[1].parent = Some(context.span_id(&Unit::Record))
        });
        check("outside the time", |spans| spans[2].end_us = 9_500);
        check("outside the time", |spans| spans[2].start_us = 900);
        check("sibling starts", |spans| {
            spans[2].start_us = spans[1].end_us
        });
        check("not there", |spans| {
            spans[2].links[0].1 = context.span_id(&Unit::Record)
        });
        check("own parent", |spans| {
            spans[2].links[0].1 = context.span_id(&Unit::Round)
        });
        check("no fl.job", |spans| {
            spans[1].attributes.remove("fl.job");
            spans[1].attribute_count -= 1;
        });
        check("no error.type", |spans| {
            spans[1].error = Some("broken".into())
        });
        check("no fl.region", |spans| {
            spans[1].service = "fog-aggregator".into()
        });
        check("takes no time", |spans| {
            spans[1].end_us = spans[1].start_us - 4
        });
        check("over its caps", |spans| {
            spans[1].events = vec!["retry".into(); EVENTS_MAX + 1]
        });
        check("came twice", |spans| spans[1].attribute_count += 1);
        check("a text over", |spans| {
            spans[1].attributes.insert(
                "fl.job".into(),
                AttrValue::Text("x".repeat(TEXT_BYTES_MAX + 1)),
            );
        });
        check("share an id", |spans| spans.push(spans[2].clone()));
    }
}
