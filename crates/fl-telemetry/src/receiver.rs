//! An OTLP/gRPC trace receiver on a loopback port, for tests and demo tooling: it keeps what it gets and judges it by
//! the rules of [`crate::check`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::check::{CollectedSpan, collect};
use crate::ids::{SpanId, TraceId};

/// How often a waiting caller looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Most spans that are kept; more are refused, so that a runaway sender is noticed.
const SPANS_MAX: usize = 1_000_000;

type Spans = BTreeMap<(TraceId, SpanId), CollectedSpan>;

#[derive(Debug, Default)]
struct Store {
    spans: Spans,
    received: u64,
    conflicts: Vec<String>,
}

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_on(0).await
    }

    /// Listens on this loopback port; 0: a free one.
    pub async fn start_on(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let store = Arc::new(Mutex::new(Store::default()));
        let service = TraceServiceServer::new(Collecting {
            store: Arc::clone(&store),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpIncoming::from(listener), async {
                    // A dropped sender stops it too.
                    let _ = stopped.await;
                })
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the trace receiver ended");
            }
        });
        Ok(Self {
            address,
            store,
            stop: Some(stop),
            server,
        })
    }

    /// What to set as `telemetry.otlp.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Spans that arrived, including those that arrived before.
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// Every trace seen.
    pub fn traces(&self) -> Vec<TraceId> {
        let mut traces: Vec<TraceId> = self.lock().spans.keys().map(|(trace, _)| *trace).collect();
        traces.dedup();
        traces
    }

    /// The distinct spans of a trace.
    pub fn spans(&self, trace: &TraceId) -> Vec<CollectedSpan> {
        let store = self.lock();
        store
            .spans
            .values()
            .filter(|span| span.trace == *trace)
            .cloned()
            .collect()
    }

    /// Spans that came twice under one id with different content, in words.
    pub fn conflicts(&self) -> Vec<String> {
        self.lock().conflicts.clone()
    }

    /// Waits until the trace satisfies `complete`, and returns its spans; after `limit` it returns what there is.
    pub async fn wait_for(
        &self,
        trace: &TraceId,
        limit: Duration,
        complete: impl Fn(&[CollectedSpan]) -> bool,
    ) -> Vec<CollectedSpan> {
        let deadline = Instant::now() + limit;
        loop {
            let spans = self.spans(trace);
            if complete(&spans) || Instant::now() >= deadline {
                return spans;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops listening and closes all connections; what was collected stays with the caller only if read before.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.server.abort();
        // Aborted or not, it has let go of the port afterwards.
        let _ = (&mut self.server).await;
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Collecting {
    store: Arc<Mutex<Store>>,
}

#[tonic::async_trait]
impl TraceService for Collecting {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans =
            collect(&request.into_inner().resource_spans).map_err(Status::invalid_argument)?;
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.spans.len() + spans.len() > SPANS_MAX {
            return Err(Status::failed_precondition("the receiver is full"));
        }
        for span in spans {
            store.received += 1;
            let known = store.spans.insert((span.trace, span.id), span.clone());
            if let Some(known) = known.filter(|known| *known != span) {
                let conflict = format!(
                    "{} ({}) came again with other content: {known:?} then {span:?}",
                    span.name, span.id
                );
                store.conflicts.push(conflict);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
