//! Python with its own ONNX Runtime: the outside judge of exported models.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{pip, store};

/// What the judge needs. Not pinned to one release: each Python has its own newest one, and an
/// exported model must suit any.
const REQUIREMENTS: [&str; 2] = ["onnxruntime>=1.20,<2", "numpy>=1.26,<3"];
const IMPORTS: &str = "import numpy, onnxruntime";

/// A python3 in which `import numpy, onnxruntime` works.
#[derive(Debug, Clone)]
pub struct PythonRuntime {
    /// Where the packages lie, when the user's Python has none itself.
    packages: Option<PathBuf>,
}

impl PythonRuntime {
    /// Uses the user's packages, else fetches them once into `.tools`.
    pub fn find(root: &Path) -> Result<Self> {
        let own = Self { packages: None };
        if own.imports()? {
            return Ok(own);
        }
        let folder = store::ensure_folder(
            &root.join(".tools"),
            &format!("python-packages-{}", python_tag()?),
            |folder| Ok(folder.is_dir()),
            |_, folder| {
                eprintln!("fetching Python's onnxruntime and numpy with pip ...");
                pip::install_into(folder, &REQUIREMENTS)
            },
        )
        .context("cannot fetch Python's onnxruntime and numpy, which judge exported models")?;
        let found = Self {
            packages: Some(folder),
        };
        if !found.imports()? {
            bail!("python3 cannot run \"{IMPORTS}\" although pip installed both");
        }
        Ok(found)
    }

    /// A python3 command that sees the packages.
    pub fn command(&self) -> Command {
        let mut command = Command::new("python3");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }

    fn imports(&self) -> Result<bool> {
        Ok(pip::run(self.command().args(["-c", IMPORTS]))?
            .status
            .success())
    }
}

/// Version and machine of python3, for a folder's name.
fn python_tag() -> Result<String> {
    let script = "import sys, platform; v = sys.version_info; \
                  print(f'{v[0]}.{v[1]}-{platform.machine()}')";
    let output = pip::run(Command::new("python3").args(["-c", script]))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("python3 does not tell its version: {}", errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
