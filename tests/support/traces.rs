//! Where a test's federation sends its spans, and what must hold of them.

use std::io::Write as _;

use fl_telemetry::TraceId;
use fl_telemetry::check::{CollectedSpan, findings};
use fl_telemetry::jaeger::{self, Jaeger};
use fl_telemetry::receiver::Receiver;
use xtask::demo::Course;

use crate::PATIENCE;

/// The real Jaeger where `JAEGER` names one, else our own receiver.
pub enum Collector {
    /// A Jaeger on its default ports.
    Jaeger(Jaeger),
    /// Ours.
    Receiver(Receiver),
}

impl Collector {
    /// Starts it. Says so where there is no Jaeger.
    pub async fn start() -> Self {
        if let Some(jaeger) = Jaeger::start_if_named(PATIENCE).await {
            return Self::Jaeger(jaeger);
        }
        // Straight to the stream, because the test harness hides what a passing test prints.
        let note = "note: JAEGER names no launcher, so this federation's traces were held against \
                    the built-in receiver only";
        writeln!(std::io::stderr(), "{note}").expect("standard error is open");
        Self::Receiver(Receiver::start().await.expect("a loopback port"))
    }

    /// What to set as `telemetry.otlp.endpoint`.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Jaeger(jaeger) => jaeger.otlp(),
            Self::Receiver(receiver) => receiver.endpoint(),
        }
    }

    /// Every one of these traces arrived and reads well; in Jaeger also as the upload of `file`, which
    /// holds what the processes `kept`. All spans that were kept arrived, but for those traces of which
    /// `torn` says that a process was killed before it had sent all; ask when all processes have ended.
    /// No span came twice with other content.
    pub async fn assert_has(
        &self,
        traces: &[String],
        kept: &[CollectedSpan],
        file: &str,
        torn: impl Fn(usize) -> bool,
    ) {
        // The torn ones last: when all the others are whole, nothing is under way any more.
        let mut order: Vec<usize> = (0..traces.len()).collect();
        order.sort_by_key(|index| torn(*index));
        for index in order {
            let trace = &traces[index];
            let expected = of_trace(kept, trace).len();
            let id = TraceId::parse(trace).expect("a trace id");
            let spans = match torn(index) {
                true => self.now(&id).await,
                false => self.whole(&id, expected).await,
            };
            assert!(spans.1 <= expected, "more came of {trace} than was kept");
            assert_eq!(spans.0, Vec::<String>::new(), "trace {index}, {trace}");
        }
        match self {
            Self::Jaeger(jaeger) => assert_upload_is_clean(jaeger, traces, file).await,
            // A span that is told twice is told in the same bytes, or a collector shows two.
            Self::Receiver(receiver) => {
                assert_eq!(receiver.conflicts(), Vec::<String>::new());
            }
        }
    }

    /// Findings and number of the spans, when they are so many.
    async fn whole(&self, id: &TraceId, expected: usize) -> (Vec<String>, usize) {
        match self {
            Self::Jaeger(jaeger) => {
                let trace = jaeger.trace(id, expected as u64, PATIENCE).await;
                (jaeger::findings(&trace), expected)
            }
            Self::Receiver(receiver) => {
                let all = |spans: &[CollectedSpan]| spans.len() == expected;
                let spans = receiver.wait_for(id, PATIENCE, all).await;
                assert_eq!(spans.len(), expected, "what was kept of {id} was also sent");
                (findings(&spans), expected)
            }
        }
    }

    /// Findings and number of the spans that came.
    async fn now(&self, id: &TraceId) -> (Vec<String>, usize) {
        match self {
            Self::Jaeger(jaeger) => {
                let trace = jaeger.trace_now(id).await.expect("a known trace");
                let spans = trace["spans"].as_array().map_or(0, Vec::len);
                (jaeger::findings(&trace), spans)
            }
            Self::Receiver(receiver) => {
                let spans = receiver.spans(id);
                (findings(&spans), spans.len())
            }
        }
    }
}

async fn assert_upload_is_clean(jaeger: &Jaeger, traces: &[String], file: &str) {
    let answer = jaeger.upload(file).await.expect("Jaeger takes the file");
    let uploaded = answer["data"].as_array().expect("an upload has traces");
    assert_eq!(uploaded.len(), traces.len(), "traces in the upload");
    for trace in uploaded {
        let id = trace["traceID"].as_str().expect("an id");
        assert!(traces.iter().any(|known| known == id), "{id} is no round's");
        assert_eq!(jaeger::findings(trace), Vec::<String>::new(), "upload {id}");
    }
}

/// The spans of one trace.
pub fn of_trace(spans: &[CollectedSpan], trace: &str) -> Vec<CollectedSpan> {
    let trace = TraceId::parse(trace).expect("a trace id");
    spans
        .iter()
        .filter(|span| span.trace == trace)
        .cloned()
        .collect()
}

/// Every round has one trace, which keeps all rules and spans all three tiers.
pub fn assert_traces_are_clean(course: &Course, spans: &[CollectedSpan]) {
    for round in course.rounds() {
        let trace = of_trace(spans, &round.trace_id);
        let found = findings(&trace);
        assert!(
            found.is_empty(),
            "round {}: {found:#?}\n{}",
            round.round,
            outline(&trace)
        );
        let mut services: Vec<&str> = trace.iter().map(|span| span.service.as_str()).collect();
        services.sort_unstable();
        services.dedup();
        if round.participants > 0 {
            let all = ["cloud-root", "edge-agent", "fog-aggregator"];
            assert_eq!(services, all, "round {}\n{}", round.round, outline(&trace));
        }
    }
}

/// The spans in the order of their start, for a failure's message.
pub fn outline(spans: &[CollectedSpan]) -> String {
    let first = spans.iter().map(|span| span.start_us).min().unwrap_or(0);
    let mut spans: Vec<&CollectedSpan> = spans.iter().collect();
    spans.sort_by_key(|span| span.start_us);
    let line = |span: &&CollectedSpan| {
        let from = span.start_us - first;
        let to = span.end_us.saturating_sub(first);
        format!("{from:>9} {to:>9} {:<15} {}", span.service, span.name)
    };
    spans.iter().map(line).collect::<Vec<_>>().join("\n")
}
