//! The operators' endpoint: what the commands ask of a running root.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fl_model::JobId;
use fl_wire::{Encoded as _, ParameterObject};
use futures::stream;
use serde::{Deserialize, Serialize};

use crate::job_view::{JobEvent, JobView};
use crate::jobs;
use crate::office::Office;
use crate::watch::Watch;

/// A job file as it is sent to a running root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    /// Where it lies, for error messages.
    pub(crate) place: String,
    /// Its text.
    pub(crate) text: String,
}

/// What becomes of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Submitted {
    /// The job's name.
    pub(crate) job: String,
    /// What of the model travels, where not all does.
    pub(crate) parts: Option<String>,
}

/// What only those may ask who can read the root's home.
pub(crate) fn operators(office: Arc<Office>) -> Router {
    Router::new()
        .route("/jobs", get(list).post(submit))
        .route("/jobs/{job}", get(show))
        .route("/jobs/{job}/watch", get(watch))
        .route("/jobs/{job}/stop", post(stop))
        .route("/jobs/{job}/model", get(export))
        .with_state(office)
}

/// What everybody on this machine may ask.
pub(crate) fn everybody(office: Arc<Office>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(office)
}

/// A refusal in words, for the operator's terminal.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}"))
    }
}

fn named(office: &Office, name: &str) -> Result<JobId, Refusal> {
    let known = JobId::new(name)
        .ok()
        .filter(|job| office.board.show(job).is_some());
    known.ok_or_else(|| {
        let jobs: Vec<String> = office
            .board
            .list()
            .into_iter()
            .map(|view| view.job)
            .collect();
        let jobs = if jobs.is_empty() {
            "none".to_owned()
        } else {
            jobs.join(", ")
        };
        Refusal(
            StatusCode::NOT_FOUND,
            format!("there is no job {name:?} (jobs: {jobs})"),
        )
    })
}

async fn list(State(office): State<Arc<Office>>) -> Json<Vec<JobView>> {
    Json(office.board.list())
}

async fn submit(
    State(office): State<Arc<Office>>,
    Json(submission): Json<Submission>,
) -> Result<Json<Submitted>, Refusal> {
    let submitted = jobs::submit(&office, &submission.text, &submission.place).await?;
    Ok(Json(submitted))
}

async fn show(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
) -> Result<Json<JobView>, Refusal> {
    let job = named(&office, &name)?;
    let view = office.board.show(&job);
    view.map(Json).ok_or(Refusal(StatusCode::NOT_FOUND, name))
}

async fn stop(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
) -> Result<Json<String>, Refusal> {
    let job = named(&office, &name)?;
    let conflict = |what: &str| Refusal(StatusCode::CONFLICT, format!("job {job} {what}"));
    let view = office.board.show(&job);
    if view.is_some_and(|view| view.is_over()) {
        return Err(conflict("is over already"));
    }
    jobs::stop(&office, &job).await?;
    Ok(Json(job.to_string()))
}

/// The rounds so far, then one line an event until the job is over.
async fn watch(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let job = named(&office, &name)?;
    let Some((view, events)) = office.board.watch(&job) else {
        return Err(Refusal(StatusCode::NOT_FOUND, name));
    };
    tracing::debug!("job {job} is watched");
    let watch = Watch::new(view, events);
    let lines = stream::unfold(
        (office, job, watch),
        |(office, job, mut watch)| async move {
            let event = watch.next(|| office.board.show(&job)).await?;
            Some((Ok::<_, Infallible>(line(&event)), (office, job, watch)))
        },
    );
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(event: &JobEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The user's model with the newest parameters, taking raw columns.
async fn export(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
) -> Result<Vec<u8>, Refusal> {
    let job = named(&office, &name)?;
    let input = office.board.export(&job);
    let input = input.ok_or(Refusal(StatusCode::NOT_FOUND, name))?;
    let Some(normalization) = input.normalization else {
        let what = format!("job {job} has not merged its statistics yet: try again after round 0");
        return Err(Refusal(StatusCode::CONFLICT, what));
    };
    let model = office.object(&input.model).await?;
    let parameters = office.object(&input.parameters).await?;
    let parameters = ParameterObject::decode(&parameters).map_err(anyhow::Error::from)?;
    let exported = onnx_train::export(
        onnx_train::Model::new(&model, &input.options),
        &parameters.tensors,
        &input.inputs,
        &normalization,
    );
    Ok(exported.map_err(anyhow::Error::from)?)
}

async fn health(State(office): State<Arc<Office>>) -> Response {
    match office.voice.nats.is_connected() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "nats is away\n").into_response(),
    }
}

async fn metrics(State(office): State<Arc<Office>>) -> Result<Response, Refusal> {
    let text = office
        .metrics
        .prometheus_text()
        .map_err(anyhow::Error::from)?;
    let kind = fl_telemetry::metrics::PROMETHEUS_CONTENT_TYPE;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
