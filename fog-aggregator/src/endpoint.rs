//! The control endpoint: status, metrics, health.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fl_telemetry::Metrics;
use fl_telemetry::metrics::PROMETHEUS_CONTENT_TYPE;
use tokio::sync::watch;

use crate::check::free_bytes;
use crate::status::Status;

/// Path of the status.
pub const STATUS_PATH: &str = "/status";

/// Path of the health check.
pub const HEALTH_PATH: &str = "/health";

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The gateway's latest status.
    pub status: watch::Receiver<Status>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its home, for the free space.
    pub home: PathBuf,
}

/// What only the operator may ask.
pub fn guarded(shown: Shown) -> Router {
    Router::new()
        .route(STATUS_PATH, get(status))
        .with_state(shown)
}

/// What everybody on this machine may ask: a collector of metrics, a health check.
pub fn open(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route(HEALTH_PATH, get(health))
        .with_state(shown)
}

async fn status(State(shown): State<Shown>) -> Json<Status> {
    let mut status = shown.status.borrow().clone();
    status.disk.free_bytes = free_bytes(&shown.home).unwrap_or_default();
    Json(status)
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.prometheus_text() {
        Ok(text) => ([(header::CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Healthy: it speaks to its devices and to the root.
async fn health(State(shown): State<Shown>) -> Response {
    let status = shown.status.borrow();
    let away =
        |what: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{what} is away\n")).into_response();
    match (status.broker.connected, status.nats.connected) {
        (true, true) => "ok\n".into_response(),
        (false, _) => away("the broker"),
        (_, false) => away("nats"),
    }
}
