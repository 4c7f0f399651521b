//! The real Jaeger, where `JAEGER` names its launcher, and the rules over its query API.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fl_telemetry::TraceId;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

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
pub(crate) struct Jaeger {
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
    /// Starts the launcher that `JAEGER` names and waits until it answers; none without `JAEGER`.
    pub(crate) async fn start_if_named(limit: Duration) -> Option<Self> {
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

    pub(crate) fn otlp(&self) -> String {
        format!("http://127.0.0.1:{OTLP_PORT}")
    }

    /// The trace as Jaeger's query API tells it, once it has this many spans.
    pub(crate) async fn trace(&self, trace: &TraceId, spans: u64, limit: Duration) -> Value {
        let deadline = Instant::now() + limit;
        let mut last = 0;
        while Instant::now() < deadline {
            if let Some(answer) = self.get(&format!("/api/traces/{trace}")).await {
                let found = answer["data"][0].clone();
                last = found["spans"].as_array().map_or(0, Vec::len);
                if last as u64 == spans {
                    return found;
                }
            }
            sleep(POLL_INTERVAL).await;
        }
        panic!("Jaeger has {last} of {spans} spans of {trace}");
    }

    /// What Jaeger makes of an uploaded file.
    pub(crate) async fn upload(&self, otlp_json: &str) -> Option<Value> {
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

/// The rules over a trace in Jaeger's own format, where a link is a reference behind the parent.
pub(crate) fn findings(trace: &Value) -> Vec<String> {
    let spans: Vec<&Value> = trace["spans"].as_array().into_iter().flatten().collect();
    let by_id: BTreeMap<&str, &Value> = spans
        .iter()
        .map(|span| (text(span, "spanID"), *span))
        .collect();
    let mut findings = Vec::new();
    if by_id.len() != spans.len() {
        findings.push("two spans share an id".to_owned());
    }
    let roots: Vec<_> = spans
        .iter()
        .filter(|span| list(span, "references").is_empty())
        .collect();
    if roots.len() != 1 || !name(roots[0]).starts_with("round ") {
        findings.push(format!("{} roots", roots.len()));
    }
    let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for span in &spans {
        for warning in list(span, "warnings") {
            findings.push(format!("{}: Jaeger warns: {warning}", name(span)));
        }
        let tags: BTreeSet<&str> = list(span, "tags")
            .iter()
            .map(|tag| text(tag, "key"))
            .collect();
        if !tags.contains("fl.job") || !tags.contains("fl.round") {
            findings.push(format!("{}: no fl.job or fl.round", name(span)));
        }
        let Some((parent, links)) = list(span, "references").split_first() else {
            continue;
        };
        if text(parent, "refType") != "CHILD_OF" {
            findings.push(format!("{}: the first reference is no parent", name(span)));
        }
        for link in links {
            if !by_id.contains_key(text(link, "spanID"))
                || text(link, "spanID") == text(parent, "spanID")
            {
                findings.push(format!(
                    "{}: a link to nowhere or to the own parent",
                    name(span)
                ));
            }
        }
        match by_id.get(text(parent, "spanID")) {
            None => findings.push(format!("{}: orphan", name(span))),
            Some(parent) => {
                children
                    .entry(text(parent, "spanID"))
                    .or_default()
                    .push(span);
                if start(span) < start(parent) || end(span) > end(parent) {
                    findings.push(format!("{}: outside {}", name(span), name(parent)));
                }
            }
        }
    }
    for siblings in children.values() {
        let starts: BTreeSet<u64> = siblings.iter().map(|span| start(span)).collect();
        let touching = siblings.iter().filter(|span| starts.contains(&end(span)));
        findings.extend(touching.map(|span| format!("{}: touches a sibling", name(span))));
    }
    findings
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn name(span: &Value) -> &str {
    text(span, "operationName")
}

fn start(span: &Value) -> u64 {
    span["startTime"].as_u64().unwrap_or_default()
}

fn end(span: &Value) -> u64 {
    start(span) + span["duration"].as_u64().unwrap_or_default()
}
