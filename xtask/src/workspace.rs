//! Where things lie: the workspace, its build folder and its binaries.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use fl_guard as guard;

/// The four programs of the workspace that a federation is made of, or that guard its servers.
pub const BINARIES: [&str; 4] = ["cloud-root", "fog-aggregator", "edge-agent", "xtask"];

/// The folder of the workspace's `Cargo.toml`.
///
/// Looked for upwards from the package that cargo runs, then from the current folder, so a
/// checkout that was moved or copied after the build is still found.
pub fn root() -> Result<PathBuf> {
    let starts = [
        env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        env::current_dir().ok(),
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
    ];
    for start in starts.into_iter().flatten() {
        if let Some(found) = start.ancestors().find(|folder| is_root(folder)) {
            return Ok(found.to_path_buf());
        }
    }
    bail!("no workspace here: run cargo xtask inside a checkout of tributary")
}

fn is_root(folder: &Path) -> bool {
    folder.join("xtask").is_dir()
        && std::fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.contains("[workspace]"))
}

/// The cargo that started us, or the one on PATH.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A short cargo command in the workspace's root, such as `cargo metadata`.
pub fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(root);
    command
}

/// A cargo command in the workspace's root that builds or runs, for [`guard::status`]: if we are
/// killed, compilers and tests do not go on alone.
pub fn guarded_cargo(root: &Path) -> Command {
    let mut command = guard::guarded(cargo());
    command.current_dir(root);
    command
}

/// The build folder that cargo uses, whether set by `CARGO_TARGET_DIR`, a config file or nothing.
pub fn target_dir(root: &Path) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let output = cargo_command(root)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .context("cargo metadata printed something unexpected")?;
    Ok(metadata.target_directory)
}

/// Builds every binary of the workspace and gives the folder they lie in.
///
/// The whole workspace, never `-p`: another set of features would compile dozens of crates anew.
pub fn build_binaries(root: &Path) -> Result<PathBuf> {
    let status = guard::status(guarded_cargo(root).args(["build", "--workspace", "--bins"]))
        .context("cannot run cargo build")?;
    if !status.success() {
        bail!("cargo build --workspace --bins failed: see its messages above");
    }
    let folder = target_dir(root)?.join("debug");
    for name in BINARIES {
        if !folder.join(name).is_file() {
            bail!(
                "cargo build left no {name} in {}: is a build target or profile set in a cargo config?",
                folder.display()
            );
        }
    }
    Ok(folder)
}

/// The workspace binary `name` as a test finds it: beside the folder of the test's own executable.
///
/// `cargo test` alone does not build other packages' binaries; `cargo xtask test` does so first.
pub fn binary_for_test(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell the test's own executable")?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    found.with_context(|| {
        format!("{name} is not built: run cargo xtask test, or cargo build --workspace first")
    })
}
