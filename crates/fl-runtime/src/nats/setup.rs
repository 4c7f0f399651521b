//! The streams and the bucket, with their bounds.

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, object_store};
use serde::Deserialize;

use super::objects::BUCKET;
use super::{Nats, Stream};

/// The server cannot promise that much room.
const NO_ROOM: [ErrorCode; 2] = [
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
];

/// JetStream is not running, or not for this account.
const NO_JETSTREAM: [ErrorCode; 2] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
];

/// How much the streams may hold, and on how many servers: the root's `streams` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamLimits {
    /// Servers that hold each message: 1 on a single server, 3 in a cluster.
    pub replicas: usize,
    /// Bytes of the log of every job together.
    pub log_bytes_max: i64,
    /// Bytes of what regions are to know.
    pub down_bytes_max: i64,
    /// Bytes of partial sums that the log does not name yet.
    pub partials_bytes_max: i64,
    /// Bytes of models and other objects.
    pub objects_bytes_max: i64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        const MIB: i64 = 1024 * 1024;
        Self {
            replicas: 1,
            log_bytes_max: 256 * MIB,
            down_bytes_max: 64 * MIB,
            partials_bytes_max: 512 * MIB,
            objects_bytes_max: 2048 * MIB,
        }
    }
}

/// Why the streams could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The server has not that much room.
    #[error(
        "nats has no room for stream {stream} of {bytes_max} bytes: lower its limit in the streams section, or raise max_file_store of nats-server"
    )]
    NoRoom {
        /// The stream.
        stream: String,
        /// The bytes asked for.
        bytes_max: i64,
    },
    /// JetStream is not running.
    #[error(
        "nats at {url} runs without JetStream: start nats-server with --jetstream or a jetstream section"
    )]
    NoJetStream {
        /// The address.
        url: String,
    },
    /// The server went away meanwhile: try again later.
    #[error("streams cannot be made now: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("stream {stream} cannot be made at nats {url}: {why}")]
    Failed {
        /// The stream.
        stream: String,
        /// The address.
        url: String,
        /// What the server said.
        why: String,
    },
}

impl Nats {
    /// Makes the streams and the object bucket, or brings them to these limits. Only the root may.
    ///
    /// # Errors
    /// Every [`SetupError`].
    pub async fn ensure_streams(&self, limits: &StreamLimits) -> Result<(), SetupError> {
        let made = self.answered(self.make_streams(limits)).await;
        made.map_err(SetupError::Unavailable)?
    }

    async fn make_streams(&self, limits: &StreamLimits) -> Result<(), SetupError> {
        for stream in Stream::ALL {
            let config = config(stream, limits);
            let (name, bytes_max) = (config.name.clone(), config.max_bytes);
            let made = self.jetstream.create_or_update_stream(config).await;
            made.map_err(|error| self.setup_error(&name, bytes_max, Some(&error)))?;
        }
        self.ensure_bucket(limits).await
    }

    async fn ensure_bucket(&self, limits: &StreamLimits) -> Result<(), SetupError> {
        let bytes_max = limits.objects_bytes_max;
        if let Ok(stream) = self.jetstream.get_stream(format!("OBJ_{BUCKET}")).await {
            let config = Config {
                max_bytes: bytes_max,
                num_replicas: limits.replicas,
                ..stream.cached_info().config.clone()
            };
            let updated = self.jetstream.update_stream(config).await;
            return updated
                .map(|_| ())
                .map_err(|error| self.setup_error(BUCKET, bytes_max, Some(&error)));
        }
        let config = object_store::Config {
            bucket: BUCKET.into(),
            max_bytes: bytes_max,
            num_replicas: limits.replicas,
            storage: StorageType::File,
            ..object_store::Config::default()
        };
        let made = self.jetstream.create_object_store(config).await;
        made.map(|_| ()).map_err(|error| {
            let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
            self.setup_error(BUCKET, bytes_max, cause)
        })
    }

    fn setup_error(
        &self,
        stream: &str,
        bytes_max: i64,
        error: Option<&CreateStreamError>,
    ) -> SetupError {
        let url = self.url().to_owned();
        let code = error.and_then(|error| match error.kind() {
            CreateStreamErrorKind::JetStreamUnavailable => Some(ErrorCode::JETSTREAM_NOT_ENABLED),
            CreateStreamErrorKind::JetStream(error) => Some(error.error_code()),
            _ => None,
        });
        let stream = stream.to_owned();
        match code {
            Some(code) if NO_ROOM.contains(&code) => SetupError::NoRoom { stream, bytes_max },
            Some(code) if NO_JETSTREAM.contains(&code) => SetupError::NoJetStream { url },
            _ => SetupError::Failed {
                stream,
                url,
                why: error.map_or_else(|| "it does not say why".into(), ToString::to_string),
            },
        }
    }
}

fn config(stream: Stream, limits: &StreamLimits) -> Config {
    let base = Config {
        name: stream.name().into(),
        subjects: vec![stream.subjects().into()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        num_replicas: limits.replicas,
        ..Config::default()
    };
    match stream {
        Stream::Log => Config {
            max_bytes: limits.log_bytes_max,
            discard: DiscardPolicy::New,
            deny_delete: true,
            ..base
        },
        Stream::Down => Config {
            max_bytes: limits.down_bytes_max,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            ..base
        },
        Stream::Partials => Config {
            max_bytes: limits.partials_bytes_max,
            discard: DiscardPolicy::New,
            ..base
        },
    }
}
