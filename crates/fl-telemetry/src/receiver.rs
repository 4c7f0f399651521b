//! An OTLP/gRPC receiver of traces and metrics on a loopback port, for tests and demo tooling: it keeps what it gets and judges it by
//! the rules of [`crate::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::check::{CollectedSpan, collect};
use crate::ids::{SpanId, TraceId};

/// How often a waiting caller looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long connections may take to close.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Most spans that are kept; more are refused, so that a runaway sender is noticed.
const SPANS_MAX: usize = 1_000_000;

type Spans = BTreeMap<(TraceId, SpanId), CollectedSpan>;

#[derive(Debug, Default)]
struct Store {
    spans: Spans,
    received: u64,
    conflicts: Vec<String>,
    metrics: BTreeSet<String>,
}

/// A running receiver; it ends, without being waited for, when dropped.
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
        Self::start_with(port, Server::builder()).await
    }

    /// Listens on a free loopback port with TLS: a certificate chain and its key, PEM.
    pub async fn start_tls(cert_pem: &str, key_pem: &str) -> std::io::Result<Self> {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(cert_pem, key_pem));
        let server = Server::builder()
            .tls_config(tls)
            .map_err(std::io::Error::other)?;
        Self::start_with(0, server).await
    }

    async fn start_with(port: u16, mut server: Server) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let store = Arc::new(Mutex::new(Store::default()));
        let collecting = Collecting {
            store: Arc::clone(&store),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let services = server
            .add_service(TraceServiceServer::new(collecting.clone()))
            .add_service(MetricsServiceServer::new(collecting));
        let server = tokio::spawn(async move {
            let served = services
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

    /// Names of the metrics that came.
    pub fn metrics(&self) -> BTreeSet<String> {
        self.lock().metrics.clone()
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

    /// Stops listening, closes all connections, and waits until the port is free.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if timeout(STOP_MAX, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
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

#[tonic::async_trait]
impl MetricsService for Collecting {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let groups = request.into_inner().resource_metrics;
        let scopes = groups.into_iter().flat_map(|group| group.scope_metrics);
        let names = scopes
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name);
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.metrics.extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
