//! The one runtime of the process, and sessions in it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use crate::error::TrainError;

/// Environment variable that names the ONNX Runtime shared library.
pub const RUNTIME_PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// What runs the graphs of this process.
pub(crate) enum Runtime {
    OnnxRuntime(Library),
    #[cfg(feature = "tract")]
    Tract,
}

/// A library of ONNX Runtime.
pub(crate) struct Library {
    path: PathBuf,
    environment: Environment,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// What runs the graphs of this process.
///
/// # Errors
/// [`init_runtime`] has not been called.
pub(crate) fn runtime() -> Result<&'static Runtime, TrainError> {
    RUNTIME.get().ok_or(TrainError::RuntimeMissing)
}

/// What runs the graphs of this process, for people: `ONNX Runtime from /usr/lib/libonnxruntime.so` or `tract`.
///
/// # Errors
/// [`init_runtime`] has not been called.
pub fn runtime_name() -> Result<String, TrainError> {
    Ok(runtime()?.to_string())
}

/// Loads ONNX Runtime from the given shared library, or from the one that `ORT_DYLIB_PATH` names. Where
/// neither names one and the crate is built with the feature `tract`, tract runs the graphs.
/// Later calls for the same do nothing.
///
/// # Errors
/// No library is named, it cannot be loaded, or another one is loaded already.
pub fn init_runtime(path: Option<&Path>) -> Result<(), TrainError> {
    let named = std::env::var_os(RUNTIME_PATH_VARIABLE).filter(|path| !path.is_empty());
    let path = path.map(Path::to_owned).or(named.map(PathBuf::from));
    // A panic while loading leaves nothing half done that the guard protects.
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = RUNTIME.get() {
        return running.check(path);
    }
    let found = match path {
        Some(path) => Runtime::OnnxRuntime(load(path)?),
        #[cfg(feature = "tract")]
        None => Runtime::Tract,
        #[cfg(not(feature = "tract"))]
        None => return Err(TrainError::RuntimePath),
    };
    RUNTIME.get_or_init(|| found);
    Ok(())
}

impl Runtime {
    fn library(&self) -> Result<&Library, TrainError> {
        match self {
            Self::OnnxRuntime(library) => Ok(library),
            #[cfg(feature = "tract")]
            Self::Tract => Err(TrainError::RuntimeMissing),
        }
    }

    /// Refuses another runtime than this one.
    fn check(&self, path: Option<PathBuf>) -> Result<(), TrainError> {
        let (running, path) = match (self, path) {
            #[cfg(feature = "tract")]
            (Self::Tract, None) => return Ok(()),
            (Self::OnnxRuntime(_), None) => return Err(TrainError::RuntimePath),
            (Self::OnnxRuntime(library), Some(path)) if library.path == path => return Ok(()),
            (running, Some(path)) => (running.to_string(), path),
        };
        Err(TrainError::RuntimeTwice { running, path })
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OnnxRuntime(library) => write!(f, "ONNX Runtime from {}", library.path.display()),
            #[cfg(feature = "tract")]
            Self::Tract => f.write_str("tract"),
        }
    }
}

fn load(path: PathBuf) -> Result<Library, TrainError> {
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
    Ok(Library { path, environment })
}

/// A session that gives the same bits every time: one thread, no spinning, sequential execution.
///
/// # Errors
/// ONNX Runtime is not loaded by [`init_runtime`], or refuses the model.
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
    let builder = Session::builder(&runtime()?.library()?.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(true)?
        .with_log_level(LogLevel::Error)?;
    Ok(builder)
}
