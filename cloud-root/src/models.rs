//! Imported models: checked once, here, so that no device meets one that it cannot train.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use fl_runtime::store::{Access, write_atomic};
use onnx_train::{Cost, Lora, OperatorCost, Partition, add_lora, parameter_layout};

use crate::home::Home;

/// Largest model file that can be imported.
pub const MODEL_BYTES_MAX: u64 = 512 << 20;

/// Bytes of a number of an update in the wider grid.
const UPDATE_BYTES: u64 = 4;

/// Longest name of an imported model.
const NAME_BYTES_MAX: usize = 64;

/// The imported models of a root.
#[derive(Debug, Clone)]
pub struct ModelStore {
    home: Home,
    folder: PathBuf,
}

impl ModelStore {
    /// The store in a root's home.
    pub fn of(home: &Home) -> Self {
        Self {
            home: home.clone(),
            folder: home.models_folder(),
        }
    }

    fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let ok = name.bytes().all(allowed)
            && name.len() <= NAME_BYTES_MAX
            && name.starts_with(|first: char| first.is_ascii_alphanumeric());
        ensure!(
            ok,
            "model name {name:?} is not allowed: use letters, digits, '-', '_' or '.'"
        );
        Ok(self.folder.join(format!("{name}.onnx")))
    }

    /// Checks a model file and keeps it under a name, with adapters where they are asked for.
    pub fn import(
        &self,
        name: &str,
        file: &std::path::Path,
        lora: Option<&Lora>,
    ) -> anyhow::Result<ModelSummary> {
        let path = self.path(name)?;
        let size = std::fs::metadata(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .len();
        ensure!(
            size <= MODEL_BYTES_MAX,
            "{} has {size} bytes, more than the {MODEL_BYTES_MAX} that can be imported",
            file.display()
        );
        let mut bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let unfit = || format!("{} cannot be trained", file.display());
        if let Some(lora) = lora {
            bytes = add_lora(&bytes, lora).with_context(unfit)?;
        }
        let summary = summarize(name, &bytes).with_context(unfit)?;
        if let Ok(before) = std::fs::read(&path) {
            ensure!(
                before == bytes,
                "another model is imported as {name:?}: take another name"
            );
        }
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        write_atomic(&path, &bytes, Access::Umask)?;
        Ok(summary)
    }

    /// The bytes of an imported model.
    pub fn load(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path(name)?;
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let names = self.names()?;
                let known = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                bail!(
                    "no model is imported as {name:?} (imported: {known}): import it with {}",
                    self.home
                        .command(&format!("model import FILE --name {name}"))
                )
            }
            bytes => bytes.with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The names of the imported models, sorted.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        let folder = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder.with_context(|| format!("cannot list {}", self.folder.display()))?,
        };
        let mut names = Vec::new();
        for entry in folder {
            let name = entry?.file_name();
            names.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".onnx"))
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names)
    }
}

/// What `model show` prints.
#[derive(Debug, Clone)]
pub struct ModelSummary {
    name: String,
    digest: fl_model::Digest,
    bytes: usize,
    layout: Vec<onnx_train::ParameterInfo>,
    cost: Cost,
    parts: Partition,
}

/// Reads what there is to say of a model; an error where it cannot be trained.
pub fn summarize(name: &str, bytes: &[u8]) -> anyhow::Result<ModelSummary> {
    let layout = parameter_layout(bytes)?;
    ensure!(
        !layout.is_empty(),
        "it has no float parameters: there is nothing to train"
    );
    Ok(ModelSummary {
        name: name.to_owned(),
        digest: fl_model::Digest::of(bytes),
        bytes: bytes.len(),
        layout,
        cost: onnx_train::cost(bytes)?,
        parts: onnx_train::partition(bytes)?,
    })
}

impl ModelSummary {
    /// What travels where not all does, in a line of its own; otherwise nothing.
    pub fn travels(&self) -> String {
        let Partition { shared, frozen, .. } = self.parts;
        match self.parts.is_whole() {
            true => String::new(),
            false => format!(
                "  {}: an update has {} bytes in 32 bits a number, it would have {} without adapters\n",
                self.parts,
                shared * UPDATE_BYTES,
                frozen * UPDATE_BYTES
            ),
        }
    }

    /// One line.
    pub fn line(&self) -> String {
        format!(
            "{}  {} parameters in {} tensors, {} bytes, sha256 {}",
            self.name,
            self.parts.shared,
            self.layout.len(),
            self.bytes,
            self.digest
        )
    }
}

impl std::fmt::Display for ModelSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.line())?;
        write!(f, "{}", self.travels())?;
        for info in &self.layout {
            let shape: Vec<String> = info.shape.iter().map(u64::to_string).collect();
            writeln!(f, "  {:<32} [{}]", info.name, shape.join(", "))?;
        }
        explain(&self.cost, f)
    }
}

/// What a training step takes, in words.
fn explain(cost: &Cost, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let nodes = |own: &OperatorCost| match own.nodes {
        1 => own.operator.to_owned(),
        nodes => format!("{nodes} {}", own.operator),
    };
    let operators: Vec<String> = cost.operators.iter().map(nodes).collect();
    writeln!(f, "  operators: {}", operators.join(", "))?;
    let total = cost.forward_flops();
    let most = cost.operators.iter().filter(|own| own.flops * 100 > total);
    let shares: Vec<String> = most
        .map(|own| {
            format!(
                "{} {:.0} %",
                own.operator,
                own.flops as f64 * 100.0 / total as f64
            )
        })
        .collect();
    writeln!(
        f,
        "  a training step computes about {} for each example ({})",
        scaled(
            cost.step_flops(),
            1000.0,
            ["FLOP", "kFLOP", "MFLOP", "GFLOP"]
        ),
        shares.join(", ")
    )?;
    let bytes = |bytes| scaled(bytes, 1024.0, ["B", "KiB", "MiB", "GiB"]);
    writeln!(
        f,
        "  it holds about {} for the weights and at most {} for each example of the batch, beside ONNX Runtime's own \
         memory",
        bytes(cost.step_bytes()),
        bytes(cost.example_bytes())
    )
}

/// `12.3 MFLOP`.
fn scaled(value: u64, step: f64, units: [&str; 4]) -> String {
    let mut scaled = value as f64;
    let mut unit = units[0];
    for larger in &units[1..] {
        if scaled < step {
            break;
        }
        scaled /= step;
        unit = larger;
    }
    match unit == units[0] {
        true => format!("{value} {unit}"),
        false => format!("{scaled:.1} {unit}"),
    }
}
