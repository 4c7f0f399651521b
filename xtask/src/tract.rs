//! `xtask tract`: training and the device's agent without ONNX Runtime, on tract.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{fetch, guard, workspace};

/// Runs the tests of what trains, built with the feature `tract` and with no ONNX Runtime named; `false` when
/// one failed. Apart from the other tests, since tract takes minutes to build.
pub fn run(root: &Path) -> Result<bool> {
    let mut command = workspace::guarded_cargo(root);
    command
        .args([
            "test",
            "--no-fail-fast",
            "-p",
            "onnx-train",
            "-p",
            "edge-agent",
        ])
        .args(["--features", "onnx-train/tract,edge-agent/tract"])
        .env_remove(fetch::ORT_VARIABLE);
    Ok(guard::status(&mut command)
        .context("cannot run cargo test")?
        .success())
}
