//! The one ONNX Runtime environment of the process, and sessions in it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use crate::error::TrainError;

/// Environment variable that names the ONNX Runtime shared library.
pub const RUNTIME_PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

struct Loaded {
    path: PathBuf,
    environment: Environment,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads ONNX Runtime from the given shared library, or from the one that `ORT_DYLIB_PATH` names.
/// Later calls with the same library do nothing.
///
/// # Errors
/// No library is named, it cannot be loaded, or another one is loaded already.
pub fn init_runtime(path: Option<&Path>) -> Result<(), TrainError> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => match std::env::var_os(RUNTIME_PATH_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => return Err(TrainError::RuntimePath),
        },
    };
    // A panic while loading leaves nothing half done that the guard protects.
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = LOADED.get() {
        if loaded.path == path {
            return Ok(());
        }
        return Err(TrainError::RuntimeTwice {
            loaded: loaded.path.clone(),
            path,
        });
    }
    let failed = |reason: String| TrainError::RuntimeLoad {
        path: path.clone(),
        reason,
    };
    if !path.is_file() {
        return Err(failed("there is no such file".to_owned()));
    }
    let environment = ort::init_from(&path)
        .map_err(|error| failed(error.to_string()))?
        .with_name("tributary")
        .with_telemetry(false)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    environment.set_log_level(LogLevel::Error);
    LOADED.get_or_init(|| Loaded { path, environment });
    Ok(())
}

/// A session that gives the same bits every time: one thread, no spinning, sequential execution.
///
/// # Errors
/// [`init_runtime`] has not been called, or ONNX Runtime refuses the model.
pub fn session(model: &[u8]) -> Result<Session, TrainError> {
    Ok(builder()?.commit_from_memory(model)?)
}

/// The same, which writes how long each node took into a file whose name begins with this, when
/// [`Session::end_profiling`] says so.
#[cfg(feature = "test")]
pub(crate) fn profiled_session(model: &[u8], profile: &Path) -> Result<Session, TrainError> {
    let mut builder = builder()?.with_profiling(profile)?;
    Ok(builder.commit_from_memory(model)?)
}

fn builder() -> Result<SessionBuilder, TrainError> {
    let loaded = LOADED.get().ok_or(TrainError::RuntimeMissing)?;
    let builder = Session::builder(&loaded.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(true)?
        .with_log_level(LogLevel::Error)?;
    Ok(builder)
}
