//! What the federation is held against: every device by itself, and all rows in one place. Also the
//! exported model on every device's own test rows, of which the federation itself sees only sums.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::federation::{EDGE_AGENT, Federation, agent_name};
use super::results::Results;
use super::summary::{Score, Scores};
use crate::processes::{Fleet, Interrupt, Spec};

/// Numbers of epochs that are tried.
const EPOCHS: &str = "15,30,60";
/// Trainings at the same time.
const AT_ONCE_MAX: usize = 2;

/// The agents' own commands on the homes of a federation, as processes that end with us.
#[derive(Debug)]
pub struct Baselines {
    fleet: Fleet,
    folder: PathBuf,
    program: PathBuf,
    xtask: PathBuf,
    onnxruntime: OsString,
    job: PathBuf,
    model: PathBuf,
    /// Device and home, in the order of names.
    homes: Vec<(String, PathBuf)>,
}

/// What `train-local --json` writes.
#[derive(Debug, Deserialize)]
struct Trained {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    epochs: u32,
    devices: Vec<Judged>,
}

/// What `evaluate --json` writes.
#[derive(Debug, Deserialize)]
struct Evaluated {
    devices: Vec<Judged>,
}

#[derive(Debug, Deserialize)]
struct Judged {
    device: String,
    #[serde(flatten)]
    score: Score,
}

impl Baselines {
    /// For the devices of `federation`, with the job file and the untrained model.
    pub fn new(
        federation: &Federation,
        results: &Results,
        job: &Path,
        model: &Path,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let folder = results.folder().join("baselines");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let devices = federation
            .regions()
            .iter()
            .flat_map(|region| &region.devices);
        let mut homes: Vec<(String, PathBuf)> = devices
            .map(|device| {
                let name = device.id.to_string();
                let home = federation.home(&agent_name(&name));
                (name, home)
            })
            .collect();
        homes.sort();
        let programs = federation.programs();
        Ok(Self {
            fleet: Fleet::new(results.logs())?.interrupted_by(interrupt),
            program: programs.path(EDGE_AGENT),
            xtask: programs.path("xtask"),
            onnxruntime: programs.onnxruntime_value(),
            job: job.to_path_buf(),
            model: model.to_path_buf(),
            folder,
            homes,
        })
    }

    /// Every device trains on its own rows: device → epochs → score. Tells how many are done.
    ///
    /// A device that cannot train, on which rows or settings ever, is told of in `unable`, each with
    /// the agent's own words, and left out of everything from then on.
    pub fn alone(
        &mut self,
        mut progress: impl FnMut(usize, usize),
        unable: &mut Vec<(String, String)>,
    ) -> Result<BTreeMap<String, BTreeMap<u32, Score>>> {
        let homes = self.homes.clone();
        let mut scores = BTreeMap::new();
        for some in homes.chunks(AT_ONCE_MAX) {
            progress(scores.len() + unable.len(), homes.len());
            let specs = some.iter().map(|(device, home)| {
                let name = format!("alone-{device}");
                self.training(&name, std::slice::from_ref(home))
            });
            let specs = specs.collect();
            let failures = self.fleet.run_all(specs, AT_ONCE_MAX)?;
            for (device, _) in some {
                let name = format!("alone-{device}");
                if let Some(failure) = failures.iter().find(|failure| failure.name == name) {
                    let words = failure.last_lines.last().cloned().unwrap_or_default();
                    unable.push((device.clone(), words));
                    continue;
                }
                let trained: Trained = self.read(&name)?;
                let by_epochs = trained.runs.into_iter().filter_map(|run| {
                    let own = run.devices.into_iter().next()?;
                    Some((run.epochs, own.score))
                });
                scores.insert(device.clone(), by_epochs.collect());
            }
        }
        self.homes.retain(|(device, _)| scores.contains_key(device));
        Ok(scores)
    }

    /// One model on everybody's rows: epochs → device → score.
    pub fn pooled(&mut self) -> Result<BTreeMap<u32, Scores>> {
        let homes: Vec<PathBuf> = self.homes.iter().map(|(_, home)| home.clone()).collect();
        let spec = self.training("pooled", &homes);
        self.run(spec)?;
        let trained: Trained = self.read("pooled")?;
        let runs = trained.runs.into_iter();
        Ok(runs
            .map(|run| (run.epochs, by_device(run.devices)))
            .collect())
    }

    /// An exported model, which takes raw columns, on every device's test rows.
    pub fn evaluate(&mut self, exported: &Path) -> Result<Scores> {
        let name = "federated";
        let mut spec = self.spec(name).argument("evaluate");
        for (_, home) in &self.homes {
            spec = spec.argument("--home").argument(home);
        }
        let spec = spec
            .argument("--model")
            .argument(exported)
            .argument("--job")
            .argument(&self.job)
            .argument("--json")
            .argument(self.file(name));
        self.run(spec)?;
        let evaluated: Evaluated = self.read(name)?;
        Ok(by_device(evaluated.devices))
    }

    fn run(&mut self, spec: Spec) -> Result<()> {
        match self.fleet.run_all(vec![spec], 1)?.pop() {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }

    fn training(&self, name: &str, homes: &[PathBuf]) -> Spec {
        let mut spec = self.spec(name).argument("train-local");
        for home in homes {
            spec = spec.argument("--home").argument(home);
        }
        spec.argument("--model")
            .argument(&self.model)
            .argument("--job")
            .argument(&self.job)
            .arguments(["--epochs", EPOCHS, "--json"])
            .argument(self.file(name))
    }

    fn spec(&self, name: &str) -> Spec {
        Spec::new(name, &self.program)
            .variable(crate::fetch::ORT_VARIABLE, &self.onnxruntime)
            .guarded(&self.xtask)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let file = self.file(name);
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not what was expected", file.display()))
    }
}

fn by_device(judged: Vec<Judged>) -> Scores {
    judged
        .into_iter()
        .filter(|judged| judged.score.examples > 0)
        .map(|judged| (judged.device, judged.score))
        .collect()
}
