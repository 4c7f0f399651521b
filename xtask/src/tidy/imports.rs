//! Who may import whom, from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Finding;
use crate::workspace;

/// Where a crate stands; what it may import follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Domain types.
    Model,
    /// Pure parts on the domain types, blind to each other.
    Parts,
    /// Pure machines.
    Machines,
    /// The outside world: runtimes, sockets, files, clocks.
    World,
    /// The three programs.
    Programs,
    /// Tests, benches, simulation, development commands.
    Test,
}

/// Every crate of the workspace and its layer. A crate that is missing here is a finding.
const LAYERS: [(&str, Layer); 19] = [
    ("fl-model", Layer::Model),
    ("fl-wire", Layer::Parts),
    ("fl-aggregate", Layer::Parts),
    ("fl-privacy", Layer::Parts),
    ("fl-ledger", Layer::Parts),
    ("onnx-grad", Layer::Parts),
    ("fl-view", Layer::Parts),
    ("fl-round", Layer::Machines),
    ("onnx-train", Layer::World),
    ("fl-guard", Layer::World),
    ("fl-telemetry", Layer::World),
    ("fl-runtime", Layer::World),
    ("edge-agent", Layer::Programs),
    ("fog-aggregator", Layer::Programs),
    ("cloud-root", Layer::Programs),
    ("fl-sim", Layer::Test),
    ("tributary-tests", Layer::Test),
    ("tributary-benches", Layer::Test),
    ("xtask", Layer::Test),
];

/// What the machines must do without although it lies below them.
const NOT_FOR_MACHINES: [&str; 2] = ["fl-wire", "onnx-grad"];

/// Crates that bring a runtime or sockets, directly or through others: none below [`Layer::World`].
const RUNTIMES: [&str; 5] = ["tokio", "mio", "async-std", "smol", "socket2"];

/// Crates of the outside world that the inner layers must not name either.
const OUTSIDE: [&str; 10] = [
    "async-nats",
    "axum",
    "config",
    "hyper",
    "mqtt5",
    "opentelemetry_sdk",
    "ort",
    "rumqttc-v5-next",
    "rustls",
    "tempfile",
];

impl Layer {
    /// Whether the layer is free of runtimes, sockets, files, environment and clocks.
    pub(super) fn is_inner(self) -> bool {
        self < Self::World
    }
}

fn layer_of(name: &str) -> Option<Layer> {
    LAYERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, layer)| *layer)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// A crate of ours as far as the table is concerned.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Relative to the root.
    pub(super) folder: PathBuf,
    pub(super) layer: Option<Layer>,
    manifest: String,
    dependencies: Vec<(String, Use)>,
    /// Runtimes that it reaches, with the direct dependency that leads there.
    reached: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Ours,
    Foreign,
    OursForTests,
}

/// The workspace's crates and what they depend on.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) members: Vec<Member>,
}

impl Graph {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let output = workspace::cargo_command(root)
            .args(["metadata", "--format-version", "1"])
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("cargo metadata failed: {}", errors.trim());
        }
        Self::parse(&output.stdout, root)
    }

    fn parse(json: &[u8], root: &Path) -> Result<Self> {
        let metadata: Metadata =
            serde_json::from_slice(json).context("cargo metadata printed something unexpected")?;
        let names: BTreeMap<&str, &str> = metadata
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let edges = shipped_edges(&metadata.resolve);
        let root = root
            .canonicalize()
            .context("the workspace's root is gone")?;
        let mut members = Vec::new();
        for package in &metadata.packages {
            if metadata.workspace_members.contains(&package.id) {
                members.push(Member::read(package, &root, &edges, &names)?);
            }
        }
        Ok(Self { members })
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.members.iter().flat_map(Member::findings).collect()
    }
}

/// Dependencies that end up in a shipped program: normal and build ones.
fn shipped_edges(resolve: &Resolve) -> BTreeMap<&str, Vec<&str>> {
    let shipped = |dependency: &&NodeDependency| {
        dependency
            .dep_kinds
            .iter()
            .any(|kind| kind.kind.as_deref() != Some("dev"))
    };
    resolve
        .nodes
        .iter()
        .map(|node| {
            let targets = node.deps.iter().filter(shipped);
            (
                node.id.as_str(),
                targets.map(|dependency| dependency.pkg.as_str()).collect(),
            )
        })
        .collect()
}

impl Member {
    fn read(
        package: &Package,
        root: &Path,
        edges: &BTreeMap<&str, Vec<&str>>,
        names: &BTreeMap<&str, &str>,
    ) -> Result<Self> {
        let manifest_path = &package.manifest_path;
        let manifest = fs::read_to_string(manifest_path)
            .with_context(|| format!("cannot read {}", manifest_path.display()))?;
        let folder = manifest_path.parent().unwrap_or(root);
        let folder = folder
            .canonicalize()?
            .strip_prefix(root)
            .map(Path::to_path_buf);
        let dependencies = package.dependencies.iter().filter_map(|dependency| {
            let usage = match (&dependency.path, dependency.kind.as_deref()) {
                (Some(_), Some("dev")) => Use::OursForTests,
                (Some(_), _) => Use::Ours,
                (None, Some("dev")) => return None,
                (None, _) => Use::Foreign,
            };
            Some((dependency.name.clone(), usage))
        });
        Ok(Self {
            name: package.name.clone(),
            folder: folder.with_context(|| format!("{} lies outside", package.name))?,
            layer: layer_of(&package.name),
            manifest,
            dependencies: dependencies.collect(),
            reached: reached_runtimes(&package.id, edges, names),
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let Some(layer) = self.layer else {
            let message = format!("{} has no layer: add it to the table in tidy", self.name);
            return vec![self.finding(&self.name, message)];
        };
        let mut findings: Vec<Finding> = self
            .dependencies
            .iter()
            .filter_map(|(name, usage)| {
                let message = match usage {
                    Use::Ours => self.refuse_ours(layer, name),
                    Use::OursForTests => self.refuse_for_tests(layer, name),
                    Use::Foreign => self.refuse_foreign(layer, name),
                }?;
                Some(self.finding(name, message))
            })
            .collect();
        if layer.is_inner() {
            findings.extend(self.reached.iter().map(|(runtime, by)| {
                let own = &self.name;
                self.finding(
                    by,
                    format!("{own} must do without {runtime}, which {by} brings"),
                )
            }));
        }
        findings
    }

    fn refuse_ours(&self, layer: Layer, name: &str) -> Option<String> {
        let own = &self.name;
        let Some(other) = layer_of(name) else {
            return Some(format!("{name} has no layer: add it to the table in tidy"));
        };
        let allowed = match layer {
            Layer::Test => true,
            _ if other == Layer::Test => false,
            Layer::Machines => other < layer && !NOT_FOR_MACHINES.contains(&name),
            Layer::Model | Layer::Parts | Layer::World | Layer::Programs => other < layer,
        };
        (!allowed).then(|| format!("{own} ({layer:?}) must not import {name} ({other:?})"))
    }

    /// Tests may reach sideways and use the simulation, never a program.
    fn refuse_for_tests(&self, layer: Layer, name: &str) -> Option<String> {
        let program = layer_of(name) == Some(Layer::Programs);
        (program && layer != Layer::Test).then(|| {
            format!(
                "the tests of {} must not import the program {name}",
                self.name
            )
        })
    }

    fn refuse_foreign(&self, layer: Layer, name: &str) -> Option<String> {
        (layer.is_inner() && OUTSIDE.contains(&name))
            .then(|| format!("{} ({layer:?}) must do without {name}", self.name))
    }

    /// A finding at the manifest's line that names `what`.
    fn finding(&self, what: &str, message: String) -> Finding {
        let line = self
            .manifest
            .lines()
            .position(|line| line.trim_start().trim_matches('"').starts_with(what))
            .map_or(0, |index| index + 1);
        Finding::new(self.folder.join("Cargo.toml"), line, message)
    }
}

fn reached_runtimes(
    id: &str,
    edges: &BTreeMap<&str, Vec<&str>>,
    names: &BTreeMap<&str, &str>,
) -> BTreeMap<String, String> {
    let mut reached = BTreeMap::new();
    for direct in edges.get(id).into_iter().flatten() {
        let by = names.get(direct).copied().unwrap_or(direct);
        // A crate of ours that brings one is a finding of its own.
        if layer_of(by).is_some() {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![*direct];
        while let Some(next) = open.pop() {
            if !seen.insert(next) {
                continue;
            }
            let name = names.get(next).copied().unwrap_or(next);
            if RUNTIMES.contains(&name) {
                reached.insert(name.to_owned(), by.to_owned());
            }
            open.extend(edges.get(next).into_iter().flatten());
        }
    }
    reached
}
