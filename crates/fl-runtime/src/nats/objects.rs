//! Objects by digest in the bucket `fl-objects`.

use std::io::Cursor;

use async_nats::jetstream::object_store::{
    GetErrorKind, InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore,
};
use fl_model::{Digest, ObjectRef};
use tokio::io::AsyncReadExt as _;

use super::Nats;

/// The bucket's name.
pub(super) const BUCKET: &str = "fl-objects";

/// Largest object, in bytes.
pub const OBJECT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Bytes of a chunk: each waits for an acknowledgement, so chunks are large; the server takes 1 MiB
/// with its headers.
const CHUNK_BYTES: usize = 1000 * 1024;

/// Why an object did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The bucket does not hold it (yet).
    #[error("object {0} is not in the bucket {BUCKET}")]
    NotFound(Digest),
    /// Larger than any object may be, or another size than the reference says.
    #[error("object {digest} has {bytes} bytes, not the {expected} allowed")]
    Size {
        /// The object.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The size it should have, or the bound.
        expected: u64,
    },
    /// What arrived is not what was asked for.
    #[error(
        "what the bucket {BUCKET} holds as {0} is something else: remove it there and put the object again"
    )]
    Corrupt(Digest),
    /// The server does not answer, or not that: try again later.
    #[error("object {digest} cannot be moved now: {why}")]
    Unavailable {
        /// The object.
        digest: Digest,
        /// What happened.
        why: String,
    },
}

impl Nats {
    /// Puts `bytes` into the bucket under their digest, unless they are there, and returns how to refer
    /// to them.
    ///
    /// # Errors
    /// [`ObjectError::Size`] and [`ObjectError::Unavailable`].
    pub async fn put_object(&self, bytes: &[u8]) -> Result<ObjectRef, ObjectError> {
        let object = ObjectRef::to(bytes);
        let digest = object.digest;
        if object.bytes > OBJECT_BYTES_MAX {
            return Err(ObjectError::Size {
                digest,
                bytes: object.bytes,
                expected: OBJECT_BYTES_MAX,
            });
        }
        let put = async |bucket: ObjectStore| {
            if info(&bucket, digest).await?.is_some() {
                return Ok(object);
            }
            let meta = ObjectMetadata {
                name: digest.to_string(),
                chunk_size: Some(CHUNK_BYTES.min(self.message_bytes_max())),
                ..ObjectMetadata::default()
            };
            let put = bucket.put(meta, &mut Cursor::new(bytes)).await;
            put.map(|_| object).map_err(unavailable(digest))
        };
        self.in_bucket(digest, put).await
    }

    /// The bytes of `object`, which have its digest and its size.
    ///
    /// # Errors
    /// Every [`ObjectError`].
    pub async fn get_object(&self, object: &ObjectRef) -> Result<Vec<u8>, ObjectError> {
        let digest = object.digest;
        let size = |bytes, expected| ObjectError::Size {
            digest,
            bytes,
            expected,
        };
        if object.bytes > OBJECT_BYTES_MAX {
            return Err(size(object.bytes, OBJECT_BYTES_MAX));
        }
        let get = async |bucket: ObjectStore| {
            let found = info(&bucket, digest).await?;
            let found = found.ok_or(ObjectError::NotFound(digest))?;
            if found.size as u64 != object.bytes {
                return Err(size(found.size as u64, object.bytes));
            }
            read(&bucket, object).await
        };
        self.in_bucket(digest, get).await
    }

    /// Whether the bucket holds the object.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn has_object(&self, digest: Digest) -> Result<bool, ObjectError> {
        let has = async |bucket: ObjectStore| Ok(info(&bucket, digest).await?.is_some());
        self.in_bucket(digest, has).await
    }

    /// Removes the object; it is no error when it is not there.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn remove_object(&self, digest: Digest) -> Result<(), ObjectError> {
        let remove = async |bucket: ObjectStore| {
            // One that is marked as deleted may still have its chunks, when that was cut off.
            if meta(&bucket, digest).await?.is_none() {
                return Ok(());
            }
            let removed = bucket.delete(digest.to_string()).await;
            removed.map_err(unavailable(digest))
        };
        self.in_bucket(digest, remove).await
    }

    /// What `act` does with the bucket; at once that the server is away when it is, or when the connection
    /// is lost meanwhile.
    async fn in_bucket<T>(
        &self,
        digest: Digest,
        act: impl AsyncFnOnce(ObjectStore) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        let acted = self.answered(async {
            let bucket = self.jetstream.get_object_store(BUCKET).await;
            act(bucket.map_err(unavailable(digest))?).await
        });
        acted.await.map_err(unavailable(digest))?
    }
}

/// The bytes that the bucket holds under the object's digest, if they are those.
async fn read(bucket: &ObjectStore, object: &ObjectRef) -> Result<Vec<u8>, ObjectError> {
    let digest = object.digest;
    let mut bytes = Vec::new();
    let stored = match bucket.get(digest.to_string()).await {
        Ok(stored) => stored,
        Err(error) if error.kind() == GetErrorKind::NotFound => {
            return Err(ObjectError::NotFound(digest));
        }
        Err(error) => return Err(unavailable(digest)(error)),
    };
    // One byte more than there should be shows that there are too many.
    let taken = stored.take(object.bytes + 1).read_to_end(&mut bytes).await;
    match taken {
        Ok(_) if ObjectRef::to(&bytes) == *object => Ok(bytes),
        Ok(_) => Err(ObjectError::Corrupt(digest)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(ObjectError::Corrupt(digest))
        }
        Err(error) => Err(unavailable(digest)(error)),
    }
}

async fn info(bucket: &ObjectStore, digest: Digest) -> Result<Option<ObjectInfo>, ObjectError> {
    let meta = meta(bucket, digest).await?;
    Ok(meta.filter(|info| !info.deleted))
}

/// What the bucket notes of an object, also of one that was removed.
async fn meta(bucket: &ObjectStore, digest: Digest) -> Result<Option<ObjectInfo>, ObjectError> {
    match bucket.info(digest.to_string()).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable(digest)(error)),
    }
}

fn unavailable<E: ToString>(digest: Digest) -> impl FnOnce(E) -> ObjectError {
    move |error| ObjectError::Unavailable {
        digest,
        why: error.to_string(),
    }
}
