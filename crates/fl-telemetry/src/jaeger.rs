//! The real Jaeger, where `JAEGER` names its launcher: started for a test, its traces read back through
//! its query API and held against the rules of [`crate::check`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::attr::AttrValue;
use crate::check::{self, CollectedSpan};
use crate::ids::{SpanId, TraceId};

const OTLP_PORT: u16 = 4317;
const QUERY_PORT: u16 = 16686;
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the launcher until standard input closes, so that no Jaeger outlives even a test that was killed.
const END_WITH_STDIN: &str = r#""$0" & jaeger=$!; read -r _; kill "$jaeger"; wait "$jaeger""#;

/// A relative path means the workspace, where `cargo` is called, not this crate, where tests run.
fn from_workspace(launcher: &OsStr) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // What is no path from there, such as a command on PATH, is taken as it stands.
    workspace
        .join(launcher)
        .canonicalize()
        .unwrap_or_else(|_| launcher.into())
}

/// A Jaeger of our own; it is ended with the test.
pub struct Jaeger {
    process: Child,
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Already gone is as good.
        let _ = self.process.wait();
    }
}

impl Jaeger {
    /// Starts the launcher that `JAEGER` names and waits until it answers; none without `JAEGER`. Panics where
    /// another Jaeger has its ports, or after `limit`.
    pub async fn start_if_named(limit: Duration) -> Option<Self> {
        let launcher = std::env::var_os("JAEGER").filter(|launcher| !launcher.is_empty())?;
        for port in [OTLP_PORT, QUERY_PORT] {
            assert!(
                TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                    .await
                    .is_err(),
                "port {port} is taken: end the Jaeger that runs, so that the test can start its own"
            );
        }
        let process = Command::new("sh")
            .args(["-c", END_WITH_STDIN])
            .arg(from_workspace(&launcher))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            // Only tests call this: a machine without a shell runs none of them.
            .unwrap_or_else(|error| panic!("sh cannot be started: {error}"));
        let jaeger = Self { process };
        let deadline = Instant::now() + limit;
        while jaeger.get("/api/services").await.is_none()
            || TcpStream::connect((Ipv4Addr::LOCALHOST, OTLP_PORT))
                .await
                .is_err()
        {
            assert!(
                Instant::now() < deadline,
                "JAEGER={} does not answer",
                launcher.display()
            );
            sleep(POLL_INTERVAL).await;
        }
        Some(jaeger)
    }

    /// What to set as `telemetry.otlp.endpoint`.
    pub fn otlp(&self) -> String {
        format!("http://127.0.0.1:{OTLP_PORT}")
    }

    /// The trace as Jaeger's query API tells it, once it has this many spans; without them after `limit` it panics.
    pub async fn trace(&self, trace: &TraceId, spans: u64, limit: Duration) -> Value {
        let deadline = Instant::now() + limit;
        let mut last = 0;
        while Instant::now() < deadline {
            if let Some(found) = self.trace_now(trace).await {
                last = list(&found, "spans").len();
                if last as u64 == spans {
                    return found;
                }
            }
            sleep(POLL_INTERVAL).await;
        }
        panic!("Jaeger has {last} of {spans} spans of {trace}");
    }

    /// As much of the trace as Jaeger has; none of a trace that it does not know.
    pub async fn trace_now(&self, trace: &TraceId) -> Option<Value> {
        let answer = self.get(&format!("/api/traces/{trace}")).await?;
        answer["data"].get(0).cloned()
    }

    /// What Jaeger makes of an uploaded file.
    pub async fn upload(&self, otlp_json: &str) -> Option<Value> {
        request("POST", "/api/transform", otlp_json).await
    }

    async fn get(&self, path: &str) -> Option<Value> {
        request("GET", path, "").await
    }
}

/// One HTTP/1.0 request, so that the answer ends with the connection; none unless the answer is JSON with status 200.
async fn request(method: &str, path: &str, body: &str) -> Option<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, QUERY_PORT));
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines()
        .next()?
        .contains(" 200 ")
        .then(|| serde_json::from_str(body).ok())?
}

/// Holds one finished round, as Jaeger's query API tells it, against the rules of [`check::findings`]; what Jaeger
/// itself warns of is a finding too, and a first reference that is no parent: Jaeger's critical path needs it.
pub fn findings(trace: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for span in list(trace, "spans") {
        let name = text(span, "operationName");
        let warnings = list(span, "warnings").iter();
        findings.extend(warnings.map(|warning| format!("{name}: Jaeger warns: {warning}")));
        let first = list(span, "references").first();
        if first.is_some_and(|first| text(first, "refType") != "CHILD_OF") {
            findings.push(format!("{name}: the first reference is no parent"));
        }
    }
    match spans(trace) {
        Ok(spans) => findings.extend(check::findings(&spans)),
        Err(why) => findings.push(why),
    }
    findings
}

/// A trace of Jaeger's query API as the spans that were sent.
///
/// # Errors
/// An id that is none, or a span of no process.
pub fn spans(trace: &Value) -> Result<Vec<CollectedSpan>, String> {
    let spans = list(trace, "spans").iter();
    spans.map(|span| read_span(span, trace)).collect()
}

fn read_span(span: &Value, trace: &Value) -> Result<CollectedSpan, String> {
    let name = text(span, "operationName");
    let bad = |what: &str| format!("span {name:?} in Jaeger: {what}");
    let trace_id =
        |of: &Value| TraceId::parse(text(of, "traceID")).map_err(|error| bad(&error.to_string()));
    let span_id =
        |of: &Value| SpanId::parse(text(of, "spanID")).map_err(|error| bad(&error.to_string()));
    let mut parent = None;
    let mut links = Vec::new();
    for reference in list(span, "references") {
        match text(reference, "refType") {
            "CHILD_OF" if parent.is_none() => parent = Some(span_id(reference)?),
            _ => links.push((trace_id(reference)?, span_id(reference)?)),
        }
    }
    let process = &trace["processes"][text(span, "processID")];
    let service = process["serviceName"]
        .as_str()
        .ok_or_else(|| bad("it is of no process"))?;
    let told = attributes(span);
    let own = |key: &&String| !OF_JAEGER.contains(&key.as_str());
    let failed = told.get("error") == Some(&AttrValue::Flag(true));
    let start_us = span["startTime"].as_u64().unwrap_or_default();
    let events = list(span, "logs").iter().map(event_name);
    Ok(CollectedSpan {
        trace: trace_id(span)?,
        id: span_id(span)?,
        parent,
        service: service.to_owned(),
        resource: attributes(process),
        name: name.to_owned(),
        kind: kind(told.get("span.kind")),
        start_us,
        end_us: start_us + span["duration"].as_u64().unwrap_or_default(),
        attribute_count: list(span, "tags").len() - told.keys().filter(|key| !own(key)).count(),
        events: events.collect(),
        links,
        error: failed.then(|| match told.get("otel.status_description") {
            Some(AttrValue::Text(message)) => message.clone(),
            _ => String::new(),
        }),
        attributes: told
            .iter()
            .filter(|(key, _)| own(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    })
}

/// Tags that Jaeger makes of what OTLP carries elsewhere than among the attributes.
const OF_JAEGER: [&str; 6] = [
    "error",
    "otel.scope.name",
    "otel.scope.version",
    "otel.status_code",
    "otel.status_description",
    "span.kind",
];

fn attributes(tagged: &Value) -> BTreeMap<String, AttrValue> {
    let value = |tag: &Value| match &tag["value"] {
        Value::Bool(flag) => AttrValue::Flag(*flag),
        Value::String(text) => AttrValue::Text(text.clone()),
        number => match (text(tag, "type"), number.as_i64(), number.as_f64()) {
            ("int64", Some(int), _) => AttrValue::Int(int),
            (_, _, Some(real)) => AttrValue::Real(real),
            _ => AttrValue::Text(number.to_string()),
        },
    };
    let tags = list(tagged, "tags").iter();
    tags.map(|tag| (text(tag, "key").to_owned(), value(tag)))
        .collect()
}

fn event_name(log: &Value) -> String {
    let fields = list(log, "fields").iter();
    let name = fields.filter(|field| text(field, "key") == "event");
    name.map(|field| text(field, "value").to_owned())
        .next()
        .unwrap_or_default()
}

fn kind(tag: Option<&AttrValue>) -> &'static str {
    const KINDS: [&str; 5] = ["internal", "client", "server", "producer", "consumer"];
    let told = |kind: &&str| tag == Some(&AttrValue::Text((*kind).to_owned()));
    KINDS.into_iter().find(told).unwrap_or("unspecified")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
