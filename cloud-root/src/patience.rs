//! Waiting for a bus that is away.

use std::fmt;
use std::time::Duration;

use fl_runtime::nats::{AppendError, ObjectError, ReadError, SetupError};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// An error of the bus that may be over at the next try.
pub(crate) trait MayPass: fmt::Display {
    /// Whether the same may work later.
    fn may_pass(&self) -> bool;
}

impl MayPass for AppendError {
    fn may_pass(&self) -> bool {
        matches!(self, AppendError::Unavailable { .. })
    }
}

impl MayPass for ReadError {
    fn may_pass(&self) -> bool {
        matches!(self, ReadError::Unavailable { .. })
    }
}

impl MayPass for SetupError {
    fn may_pass(&self) -> bool {
        matches!(self, SetupError::Unavailable(_))
    }
}

impl MayPass for ObjectError {
    fn may_pass(&self) -> bool {
        matches!(self, ObjectError::Unavailable { .. })
    }
}

/// Tries until the bus answers, however long it is away; a line says that somebody waits.
///
/// # Errors
/// Those that no waiting ends.
pub(crate) async fn until_answered<T, E, F>(mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    E: MayPass,
    F: Future<Output = Result<T, E>>,
{
    let mut told = false;
    loop {
        match attempt().await {
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("{error}: waiting");
                }
                tokio::time::sleep(PAUSE).await;
            }
            answered => return answered,
        }
    }
}
