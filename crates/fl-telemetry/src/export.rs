//! The way out of a process: a bounded queue, and one task that writes spans to the file and sends them to the
//! collector. Nothing here makes a round wait or fail: while the collector is away spans are kept up to a bound, then
//! the oldest are dropped and counted.

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::collector::{Collector, Sent};
use crate::metrics::Metrics;
use crate::otlp::resource_spans;
use crate::resource::SpanBatch;
use crate::sink::FileSink;

pub use crate::collector::ExportError;
pub use crate::settings::{OtlpSettings, TelemetrySettings};
pub use crate::sink::SPANS_FILE;

/// Most submissions between a caller and the task.
const QUEUE_SUBMISSIONS_MAX: usize = 1024;
/// Most bytes of spans that wait for the collector [By].
const PENDING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes in one request, unless one group alone is larger; collectors take 4 MiB by default [By].
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Pause after the first failed request; it doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// At most one complaint in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// What an exporter has done so far, in spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Taken by the collector.
    pub sent: u64,
    /// Written to the file.
    pub written: u64,
    /// Given up: queue full, collector away for too long, or refused.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    fn drop_spans(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    fn read(&self) -> ExportCounts {
        ExportCounts {
            sent: self.sent.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// A handle to the export task; clones share it.
#[derive(Debug, Clone)]
pub struct Exporter {
    submissions: mpsc::Sender<Vec<SpanBatch>>,
    counters: Arc<Counters>,
    stop: Arc<watch::Sender<Option<Instant>>>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Exporter {
    /// Starts the task, in the current tokio runtime; the collector need not be there yet. `home` is where
    /// `spans.jsonl` goes. With `metrics`, and where the settings ask for it, those are pushed too.
    pub fn start(
        settings: &TelemetrySettings,
        home: &Path,
        metrics: Option<&Metrics>,
    ) -> Result<Self, ExportError> {
        let otlp = settings.otlp.as_ref();
        let collector = otlp.map(|otlp| Collector::new(otlp, home)).transpose()?;
        let file = if settings.file {
            Some(FileSink::open(home)?)
        } else {
            None
        };
        let counters = Arc::new(Counters::default());
        let (submissions, queue) = mpsc::channel(QUEUE_SUBMISSIONS_MAX);
        let (stop, stopped) = watch::channel(None);
        let task = Task {
            queue,
            file,
            collector: collector
                .clone()
                .filter(|_| otlp.is_some_and(|otlp| otlp.traces)),
            counters: Arc::clone(&counters),
            pending: Pending::default(),
            in_flight: None,
            backoff: BACKOFF_FIRST,
            retry_at: Instant::now(),
            complaints: Complaints::default(),
        };
        if let Some(metrics) = metrics {
            let counters = Arc::clone(&counters);
            metrics.watch_spans(move || {
                let counts = counters.read();
                [
                    ("sent", counts.sent),
                    ("written", counts.written),
                    ("dropped", counts.dropped),
                ]
            });
        }
        let mut tasks = vec![tokio::spawn(task.run(stopped.clone()))];
        if let (Some(collector), Some(otlp), Some(metrics)) = (collector, otlp, metrics)
            && otlp.metrics
        {
            let interval = Duration::from_secs(otlp.metrics_interval_s.max(1));
            tasks.push(tokio::spawn(push_metrics(
                collector,
                metrics.clone(),
                interval,
                stopped,
            )));
        }
        Ok(Self {
            submissions,
            counters,
            stop: Arc::new(stop),
            tasks: Arc::new(Mutex::new(tasks)),
        })
    }

    /// Hands over spans and returns at once; with a full queue they are dropped and counted.
    pub fn send(&self, batches: impl IntoIterator<Item = SpanBatch>) {
        let batches: Vec<SpanBatch> = batches
            .into_iter()
            .filter(|batch| !batch.spans.is_empty())
            .collect();
        let spans = batches.iter().map(|batch| batch.spans.len() as u64).sum();
        if spans > 0 && self.submissions.try_send(batches).is_err() {
            self.counters.drop_spans(spans);
        }
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> ExportCounts {
        self.counters.read()
    }

    /// Sends what is waiting, for at most `limit`, and ends the task; what remains then is dropped and counted.
    pub async fn shutdown(&self, limit: Duration) -> ExportCounts {
        self.stop.send_replace(Some(Instant::now() + limit));
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let abort = task.abort_handle();
            // The task minds the limit itself; this only bounds a send that hangs.
            if timeout(limit + BACKOFF_FIRST, task).await.is_err() {
                abort.abort();
            }
        }
        self.counts()
    }
}

/// Groups of spans that wait for the collector, oldest first.
#[derive(Default)]
struct Pending {
    groups: VecDeque<Group>,
    bytes: usize,
}

struct Group {
    spans: ResourceSpans,
    count: u64,
    bytes: usize,
}

impl Pending {
    /// Adds a group; returns how many spans had to be dropped for it.
    fn push(&mut self, spans: ResourceSpans) -> u64 {
        let bytes = prost::Message::encoded_len(&spans);
        let count = spans
            .scope_spans
            .iter()
            .map(|scope| scope.spans.len() as u64)
            .sum();
        self.bytes += bytes;
        self.groups.push_back(Group {
            spans,
            count,
            bytes,
        });
        let mut dropped = 0;
        while self.bytes > PENDING_BYTES_MAX {
            dropped += self.pop().map_or(0, |group| group.count);
        }
        dropped
    }

    fn pop(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.bytes -= group.bytes;
        Some(group)
    }

    /// The next request's groups: the oldest, up to a request's size, at least one.
    fn take_request(&mut self) -> Vec<Group> {
        let mut request = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.groups.front()
            && (request.is_empty() || bytes + next.bytes <= REQUEST_BYTES_MAX)
        {
            bytes += next.bytes;
            request.extend(self.pop());
        }
        request
    }

    /// Puts a failed request back in front, as far as there is room; returns how many spans there was none for.
    fn put_back(&mut self, request: Vec<Group>) -> u64 {
        let mut dropped = 0;
        for group in request.into_iter().rev() {
            if self.bytes + group.bytes > PENDING_BYTES_MAX {
                dropped += group.count;
            } else {
                self.bytes += group.bytes;
                self.groups.push_front(group);
            }
        }
        dropped
    }

    fn count(&self) -> u64 {
        self.groups.iter().map(|group| group.count).sum()
    }
}

type InFlight = Pin<Box<dyn Future<Output = (Vec<Group>, Sent)> + Send>>;

struct Task {
    queue: mpsc::Receiver<Vec<SpanBatch>>,
    file: Option<FileSink>,
    collector: Option<Collector>,
    counters: Arc<Counters>,
    pending: Pending,
    in_flight: Option<InFlight>,
    backoff: Duration,
    retry_at: Instant,
    complaints: Complaints,
}

impl Task {
    async fn run(mut self, mut stopped: watch::Receiver<Option<Instant>>) {
        let mut open = true;
        while open {
            self.start_request();
            tokio::select! {
                batches = self.queue.recv() => match batches {
                    Some(batches) => self.accept(batches),
                    None => open = false,
                },
                sent = next(&mut self.in_flight) => self.finish_request(sent),
                () = sleep_until(self.retry_at), if self.is_backing_off() => {}
                _ = stopped.changed() => open = false,
            }
        }
        self.queue.close();
        while let Some(batches) = self.queue.recv().await {
            self.accept(batches);
        }
        let deadline = stopped.borrow().unwrap_or_else(Instant::now);
        self.drain(deadline).await;
    }

    /// Sends what is left, until the deadline.
    async fn drain(&mut self, deadline: Instant) {
        while self.in_flight.is_some() || !self.pending.groups.is_empty() {
            self.start_request();
            tokio::select! {
                sent = next(&mut self.in_flight) => self.finish_request(sent),
                () = sleep_until(self.retry_at), if self.is_backing_off() => {}
                () = sleep_until(deadline) => {
                    self.counters.drop_spans(self.pending.count());
                    break;
                }
            }
        }
    }

    fn is_backing_off(&self) -> bool {
        self.in_flight.is_none() && !self.pending.groups.is_empty()
    }

    /// Writes spans to the file and queues them for the collector.
    fn accept(&mut self, batches: Vec<SpanBatch>) {
        let request = ExportTraceServiceRequest {
            resource_spans: resource_spans(batches),
        };
        if let Some(file) = &mut self.file {
            match file.append(&request) {
                Ok(()) => {
                    self.counters
                        .written
                        .fetch_add(span_count(&request.resource_spans), Ordering::Relaxed);
                }
                Err(error) => self.complaints.file(&error),
            }
        }
        if self.collector.is_some() {
            let dropped: u64 = request
                .resource_spans
                .into_iter()
                .map(|group| self.pending.push(group))
                .sum();
            self.give_up(
                dropped,
                "more spans wait for the collector than there is room for",
            );
        }
    }

    fn start_request(&mut self) {
        let Some(collector) = self.collector.clone() else {
            return;
        };
        if self.in_flight.is_some()
            || self.pending.groups.is_empty()
            || Instant::now() < self.retry_at
        {
            return;
        }
        let groups = self.pending.take_request();
        let request = ExportTraceServiceRequest {
            resource_spans: groups.iter().map(|group| group.spans.clone()).collect(),
        };
        self.in_flight = Some(Box::pin(async move {
            (groups, collector.send_spans(request).await)
        }));
    }

    fn finish_request(&mut self, (groups, sent): (Vec<Group>, Sent)) {
        self.in_flight = None;
        let spans = groups.iter().map(|group| group.count).sum();
        match sent {
            Sent::Done => {
                self.counters.sent.fetch_add(spans, Ordering::Relaxed);
                self.backoff = BACKOFF_FIRST;
                self.complaints.recovered();
            }
            Sent::Retry(reason) => {
                let dropped = self.pending.put_back(groups);
                self.retry_at = Instant::now() + self.backoff;
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                self.complaints.away(&reason);
                self.give_up(dropped, &reason);
            }
            Sent::Refused { reason, .. } => self.give_up(spans, &reason),
        }
    }

    fn give_up(&mut self, spans: u64, reason: &str) {
        if spans > 0 {
            self.counters.drop_spans(spans);
            self.complaints.dropped(spans, reason);
        }
    }
}

/// The request under way, or never.
async fn next(in_flight: &mut Option<InFlight>) -> (Vec<Group>, Sent) {
    match in_flight {
        Some(request) => request.as_mut().await,
        None => std::future::pending().await,
    }
}

fn span_count(groups: &[ResourceSpans]) -> u64 {
    groups
        .iter()
        .flat_map(|group| &group.scope_spans)
        .map(|scope| scope.spans.len() as u64)
        .sum()
}

/// Pushes metrics until the exporter stops. They are cumulative, so a push that failed is made good by the next.
async fn push_metrics(
    collector: Collector,
    metrics: Metrics,
    interval: Duration,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let mut complaints = Complaints::default();
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = stopped.changed() => stopping = true,
        }
        let Some(request) = metrics.otlp_request() else {
            continue;
        };
        match collector.clone().send_metrics(request).await {
            Sent::Done => complaints.recovered(),
            Sent::Retry(reason) => complaints.away(&reason),
            Sent::Refused {
                reason,
                unimplemented,
            } => {
                tracing::warn!(%reason, "the collector takes no metrics; set telemetry.otlp.metrics = false");
                if unimplemented {
                    return;
                }
            }
        }
    }
}

/// Says what is wrong with the way out, but only once in a while.
#[derive(Default)]
struct Complaints {
    away: bool,
    next_file: Option<Instant>,
    next_dropped: Option<Instant>,
    dropped: u64,
}

impl Complaints {
    fn away(&mut self, reason: &str) {
        if !self.away {
            self.away = true;
            tracing::warn!(
                reason,
                "the collector cannot be reached; trying on, rounds go on meanwhile"
            );
        }
    }

    fn recovered(&mut self) {
        if self.away {
            self.away = false;
            tracing::info!("the collector is back");
        }
    }

    fn dropped(&mut self, spans: u64, reason: &str) {
        self.dropped += spans;
        if is_due(&mut self.next_dropped) {
            tracing::warn!(spans = self.dropped, reason, "spans were dropped");
            self.dropped = 0;
        }
    }

    fn file(&mut self, error: &std::io::Error) {
        if is_due(&mut self.next_file) {
            tracing::warn!(%error, "cannot append to {SPANS_FILE}; check the disk");
        }
    }
}

fn is_due(next: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = next.is_none_or(|at| now >= at);
    if due {
        *next = Some(now + COMPLAINT_INTERVAL);
    }
    due
}
