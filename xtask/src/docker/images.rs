//! The public images that ours begin with or that run beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::project::Engine;
use crate::processes::run_to_end;

/// What the names of our own images begin with.
const OURS: &str = "tributary/";
/// How long one image may take to come.
const PULL_BOUND: Duration = Duration::from_secs(30 * 60);

/// Sees that every public image is on this machine, and pulls what is not.
///
/// # Errors
/// Names the images that no registry gave.
pub(super) fn ensure(engine: &Engine, folder: &Path) -> Result<()> {
    let missing: Vec<String> = foreign(folder)?
        .into_iter()
        .filter(|image| !is_here(image))
        .collect();
    for image in &missing {
        println!("pulling {image}");
        let pulled = engine.run(&["docker", "pull", "--quiet", image], PULL_BOUND);
        if let Err(error) = pulled {
            engine.not_interrupted()?;
            let still: Vec<&str> = missing
                .iter()
                .map(String::as_str)
                .filter(|image| !is_here(image))
                .collect();
            bail!(
                "{image} is not on this machine and no image registry gave it ({error:#}).\n\
                 Missing are: {}.\n\
                 Load them (docker load --input FILE) or make them under exactly these tags, then run \
                 this again",
                still.join(", ")
            );
        }
    }
    Ok(())
}

fn is_here(image: &str) -> bool {
    run_to_end(Command::new("docker").args(["image", "inspect", image])).is_ok()
}

/// Every image that the files in `folder` name and do not build.
fn foreign(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let images = match () {
            () if name.ends_with(".Dockerfile") => in_dockerfile,
            () if name == "compose.yaml" => in_compose,
            () => continue,
        };
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        found.extend(images(&text));
    }
    Ok(found)
}

fn in_dockerfile(text: &str) -> Vec<String> {
    let from = text.lines().filter_map(|line| line.strip_prefix("FROM "));
    from.filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn in_compose(text: &str) -> Vec<String> {
    let images = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    images
        .filter(|image| !image.starts_with(OURS))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_image_has_an_exact_tag() {
        let folder = crate::workspace::root().unwrap().join("docker");
        let found: Vec<String> = foreign(&folder).unwrap().into_iter().collect();
        let expected = [
            "debian:bookworm-slim",
            "jaegertracing/jaeger:2.13.0",
            "nats:2.15.1",
            "rust:1.95.0-slim-bookworm",
        ];
        assert_eq!(found, expected);
    }
}
