//! The connection to an OTLP collector: endpoint, TLS, headers, and which failures are worth another try.

use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::settings::OtlpSettings;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that has no answer by then is tried again; Jaeger shows a span that comes twice once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an exporter cannot start; each names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is no URL that can be called.
    #[error(
        "telemetry.otlp.endpoint {endpoint:?} must look like http://host:4317 or https://host:4317"
    )]
    Endpoint {
        /// As set.
        endpoint: String,
    },
    /// A header's name or value cannot stand in a request.
    #[error(
        "telemetry.otlp.headers.{name} is no valid header: use lower-case names and visible ASCII values"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// One of `cert_file` and `key_file` without the other.
    #[error(
        "telemetry.otlp.cert_file and telemetry.otlp.key_file go together: set both or neither"
    )]
    HalfIdentity,
    /// A file cannot be read or written.
    #[error("cannot open {path}: {source}; check that it exists and that this user may use it")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A certificate or key is not usable.
    #[error(
        "telemetry.otlp TLS settings are refused: {reason}; ca_file, cert_file and key_file must be PEM"
    )]
    Tls {
        /// What the TLS library says.
        reason: String,
    },
}

/// A connection that opens by itself when it is first used, and again whenever it is lost.
#[derive(Clone)]
pub(crate) struct Collector {
    channel: Channel,
    headers: MetadataMap,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Taken.
    Done,
    /// The collector is away or busy; the same request may succeed later.
    Retry(String),
    /// The collector will never take it.
    Refused {
        /// What it said.
        reason: String,
        /// It has no such service at all.
        unimplemented: bool,
    },
}

impl Collector {
    /// Checks the settings and reads the files that they name, relative ones from `home`; opens no
    /// connection yet. Needs a tokio runtime.
    pub(crate) fn new(settings: &OtlpSettings, home: &Path) -> Result<Self, ExportError> {
        let invalid = || ExportError::Endpoint {
            endpoint: settings.endpoint.clone(),
        };
        let tls = settings.endpoint.starts_with("https://");
        if !tls && !settings.endpoint.starts_with("http://") {
            return Err(invalid());
        }
        let mut endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .map_err(|_| invalid())?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        if tls {
            let refused = |error: tonic::transport::Error| ExportError::Tls {
                reason: chain(&error),
            };
            endpoint = endpoint
                .tls_config(tls_config(settings, home)?)
                .map_err(refused)?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            headers: headers(settings)?,
        })
    }

    pub(crate) async fn send_spans(self, request: ExportTraceServiceRequest) -> Sent {
        let mut client = TraceServiceClient::new(self.channel);
        outcome(
            client
                .export(with_headers(self.headers, request))
                .await
                .map(drop),
        )
    }

    pub(crate) async fn send_metrics(self, request: ExportMetricsServiceRequest) -> Sent {
        let mut client = MetricsServiceClient::new(self.channel);
        outcome(
            client
                .export(with_headers(self.headers, request))
                .await
                .map(drop),
        )
    }
}

fn with_headers<T>(headers: MetadataMap, message: T) -> Request<T> {
    Request::from_parts(headers, tonic::Extensions::default(), message)
}

fn headers(settings: &OtlpSettings) -> Result<MetadataMap, ExportError> {
    let mut headers = MetadataMap::new();
    for (name, value) in &settings.headers {
        let invalid = || ExportError::Header { name: name.clone() };
        let key = MetadataKey::<Ascii>::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = MetadataValue::try_from(value.as_str()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn tls_config(settings: &OtlpSettings, home: &Path) -> Result<ClientTlsConfig, ExportError> {
    let read = |path: &Path| read(&home.join(path));
    let config = match &settings.ca_file {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(config),
        _ => Err(ExportError::HalfIdentity),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    std::fs::read(path).map_err(|source| ExportError::File {
        path: path.to_owned(),
        source,
    })
}

/// The OTLP specification's list of retryable codes; those of a lost or unopened connection are among them.
fn outcome(result: Result<(), Status>) -> Sent {
    let Err(status) = result else {
        return Sent::Done;
    };
    let reason = format!("{}: {}", status.code(), chain_or_message(&status));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        // A connection that breaks in the middle of a request shows as unknown.
        | Code::Unknown => Sent::Retry(reason),
        code => Sent::Refused { reason, unimplemented: code == Code::Unimplemented },
    }
}

fn chain_or_message(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => chain(source),
        None => status.message().to_owned(),
    }
}

/// An error with its causes, which is where the useful words are.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
