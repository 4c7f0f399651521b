//! The plan's objects, out of the cache or the root's object store.

use std::sync::Arc;
use std::time::Duration;

use fl_model::{ObjectRef, RoundKey, RoundPlan};
use fl_runtime::clock::wall_us;
use fl_runtime::nats::{Nats, ObjectError};
use fl_runtime::store::StoreError;
use fl_telemetry::Metrics;
use fl_telemetry::metrics::Link;
use fl_telemetry::region::Transfer;
use fl_wire::{Encoded as _, ParameterObject, WireError};

use crate::disk::Stores;
use crate::telling::moved;

/// Before an object that did not come is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Coordinates per tensor of the model.
    pub tensors: Vec<usize>,
    /// The transfer; none where everything was in the cache.
    pub transfer: Option<Transfer>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the parameters cannot be read: {0}")]
    Parameters(#[from] WireError),
    #[error("the disk task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Fetches objects into the cache.
#[derive(Clone)]
pub struct Fetcher {
    nats: Nats,
    stores: Arc<Stores>,
    metrics: Metrics,
}

impl Fetcher {
    /// From the object store behind `nats` into the cache of `stores`.
    pub fn new(nats: Nats, stores: Arc<Stores>, metrics: Metrics) -> Self {
        Self {
            nats,
            stores,
            metrics,
        }
    }

    /// Gets model and parameters of a plan, however long it takes: a line says so.
    pub async fn fetch(&self, plan: &RoundPlan) -> Fetched {
        let mut told = false;
        loop {
            match self.attempt(plan).await {
                Ok(fetched) => return fetched,
                Err(error) => {
                    if !told {
                        tracing::warn!("{}: {error}; retrying", plan.key);
                    }
                    told = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn attempt(&self, plan: &RoundPlan) -> Result<Fetched, FetchError> {
        let start_us = wall_us();
        let mut bytes = 0;
        bytes += self.one(&plan.key, &plan.model).await?;
        bytes += self.one(&plan.key, &plan.parameters).await?;
        let (stores, digest) = (Arc::clone(&self.stores), plan.parameters.digest);
        let read = move || {
            let bytes = stores
                .objects
                .get(&digest)?
                .ok_or(ObjectError::NotFound(digest))?;
            let object = ParameterObject::decode(&bytes)?;
            Ok::<_, FetchError>(object.tensors.iter().map(Vec::len).collect())
        };
        let tensors = tokio::task::spawn_blocking(read).await??;
        Ok(Fetched {
            tensors,
            transfer: (bytes > 0).then(|| moved(start_us, wall_us(), bytes)),
        })
    }

    /// Bytes that were moved for it.
    async fn one(&self, key: &RoundKey, object: &ObjectRef) -> Result<u64, FetchError> {
        if self.stores.objects.contains(&object.digest) {
            return Ok(0);
        }
        let bytes = self.nats.get_object(object).await?;
        self.metrics.moved(Link::FogDown, object.bytes);
        tracing::debug!(%key, "fetched object {} of {} bytes", object.digest.short(), object.bytes);
        let stores = Arc::clone(&self.stores);
        tokio::task::spawn_blocking(move || stores.objects.put(&bytes)).await??;
        Ok(object.bytes)
    }
}
