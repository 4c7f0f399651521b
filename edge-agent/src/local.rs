//! The agent with the federation off: training on a home's own rows or on those of several together,
//! and an exported model on each home's test rows.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fl_model::{DataSpec, DeviceId, EvaluationCounters, JobSpec, RoundNumber, TrainingSpec};
use fl_runtime::job_file;
use fl_runtime::store::{Access, write_atomic};
use onnx_train::{ExportedModel, Model, check_model, init_runtime, starting_parameters};
use serde::Serialize;

use crate::cli::{EvaluateArguments, TrainLocalArguments};
use crate::data::{self, DataError, LocalData, Rows};
use crate::ring::RingText;
use crate::settings::{DataSource, Home};
use crate::work::{View, Workshop, counters, raw_inputs, statistics, targets, training_seed};

/// Training alone counts as this round of the job.
const ROUND: RoundNumber = RoundNumber(1);

/// How well a model does on a device's test rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The device.
    pub device: DeviceName,
    /// Its labelled training examples: rows, or windows of them.
    pub examples_train: u64,
    /// Its labelled test examples.
    pub examples_test: u64,
    /// The same: what the figures are over.
    pub examples: u64,
    /// Share of right answers; none for a job that predicts numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean absolute error in the label's unit; none for a job that tells classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_error: Option<f64>,
    /// Mean loss per test example.
    pub loss: f64,
}

/// A device's name, as it stands in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DeviceName(String);

/// One training from the start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Passes over the training rows.
    pub epochs: u32,
    /// Mean loss per training example in the last of them.
    pub train_loss: f64,
    /// How it does on each device's test rows.
    pub devices: Vec<Judged>,
}

/// A device's best number of epochs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    /// After so many epochs.
    pub epochs: u32,
    /// How well.
    #[serde(flatten)]
    pub judged: Judged,
}

/// What `train-local` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trained {
    /// The job whose features and hyper-parameters were taken.
    pub job: String,
    /// Orders the rows and draws the initial weights.
    pub seed: u64,
    /// Training examples, of all homes together.
    pub examples_train: u64,
    /// One per number of epochs, in the order asked for.
    pub runs: Vec<Run>,
    /// Per device.
    pub best: Vec<Best>,
}

/// What `evaluate` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluated {
    /// The job whose features and label were taken.
    pub job: String,
    /// Per device.
    pub devices: Vec<Judged>,
}

/// A home and its rows.
struct Site {
    home: Home,
    data: LocalData,
}

impl Site {
    fn judged(&self, counters: &EvaluationCounters) -> Judged {
        let errors = counters.absolute_error as f64 / fl_model::FixedPoint::LOSS_STEPS;
        let tells_classes = !counters.confusion.is_empty();
        self.score(
            counters.accuracy(),
            (!tells_classes).then(|| errors / counters.examples.max(1) as f64),
            counters.mean_loss().unwrap_or_default(),
        )
    }

    fn score(&self, accuracy: Option<f64>, absolute_error: Option<f64>, loss: f64) -> Judged {
        let examples = self.data.test.len() as u64;
        Judged {
            device: DeviceName(self.home.device.to_string()),
            examples_train: self.data.train.len() as u64,
            examples_test: examples,
            examples,
            accuracy,
            absolute_error,
            loss,
        }
    }
}

/// Reads job and homes, and loads the runtime that the first of them names.
fn open(job: &Path, homes: &[PathBuf]) -> anyhow::Result<(JobSpec, Vec<Site>)> {
    let job = job_file::load(job)?;
    let site = |folder: &PathBuf| -> anyhow::Result<Site> {
        let home = Home::load(folder)?;
        let data = load(&home, &job.data)?;
        Ok(Site { home, data })
    };
    let sites: Vec<Site> = homes.iter().map(site).collect::<Result<_, _>>()?;
    ensure!(
        !sites.is_empty(),
        "no home is given: name at least one with --home"
    );
    init_runtime(sites[0].home.onnxruntime().as_deref())?;
    Ok((job, sites))
}

/// The rows of a home as they are now: its file's, or those that its command has given so far.
///
/// # Errors
/// Every [`DataError`].
pub(crate) fn load(home: &Home, spec: &DataSpec) -> Result<LocalData, DataError> {
    let split = home.split.as_ref();
    match &home.source {
        DataSource::File(file) => data::load(file, spec, split),
        DataSource::Command(command) => {
            let (folder, rows_max) = (home.ring_folder(), command.bounds.rows_max);
            let text = RingText::newest(&folder, rows_max).map_err(|error| DataError::Read {
                file: folder.display().to_string(),
                source: std::io::Error::other(error),
            })?;
            data::load_ring(&folder, text, rows_max, spec, split)
        }
    }
}

/// Trains from the start for each number of epochs, on the rows of all homes together, and tests on each.
///
/// # Errors
/// Settings, job, model or data cannot be used, or training diverged.
pub fn train_local(arguments: &TrainLocalArguments) -> anyhow::Result<Trained> {
    let (job, sites) = open(&arguments.job, &arguments.homes)?;
    let model = read(&arguments.model)?;
    check_model(Model::new(&model, &job.options), &job.training, &job.data)
        .with_context(|| arguments.model.display().to_string())?;
    let seed = arguments.seed.unwrap_or(job.seed);
    let epochs = match arguments.epochs.is_empty() {
        true => vec![job.rounds.saturating_mul(job.training.local_epochs)],
        false => arguments.epochs.clone(),
    };
    let rows = pooled(&sites);
    let runs = epochs.into_iter().map(|epochs| {
        ensure!(epochs > 0, "--epochs: 0 passes over the rows train nothing");
        train(&job, &sites, &rows, &model, epochs, seed)
    });
    let runs: Vec<Run> = runs.collect::<Result<_, _>>()?;
    let trained = Trained {
        job: job.job.to_string(),
        seed,
        examples_train: rows.len() as u64,
        best: best(&runs),
        runs,
    };
    write(arguments.json.as_deref(), &trained)?;
    Ok(trained)
}

fn pooled(sites: &[Site]) -> Rows {
    let mut rows = sites[0].data.train.clone();
    sites[1..]
        .iter()
        .for_each(|site| rows.append(&site.data.train));
    rows
}

fn train(
    job: &JobSpec,
    sites: &[Site],
    rows: &Rows,
    model: &[u8],
    epochs: u32,
    seed: u64,
) -> anyhow::Result<Run> {
    let inputs = &job.data.inputs;
    let normalization = statistics(inputs, rows)?.normalization(&inputs.one_hot());
    let view = View {
        data: &job.data,
        normalization: &normalization,
        loss: job.training.loss,
        options: &job.options,
    };
    let spec = TrainingSpec {
        local_epochs: epochs,
        ..job.training.clone()
    };
    let device: &DeviceId = &sites[0].home.device;
    let draw = job.randomize.then_some(seed);
    let start = starting_parameters(Model::new(model, &job.options), draw)?;
    let order = training_seed(&job.job, ROUND, device, seed);
    let mut workshop = Workshop::default();
    let trained = workshop.train(model, &spec, view, rows, &start, order)?;
    let devices = sites.iter().map(|site| {
        let evaluation = workshop.evaluate(model, view, &site.data.test, &trained.parameters)?;
        Ok(site.judged(&counters(&evaluation)?))
    });
    Ok(Run {
        epochs,
        train_loss: trained.loss,
        devices: devices.collect::<anyhow::Result<_>>()?,
    })
}

/// Per device, the run that served it best; the first of equals.
fn best(runs: &[Run]) -> Vec<Best> {
    let merit = |judged: &Judged| {
        let error = judged.absolute_error.map(|error| -error);
        judged.accuracy.or(error).unwrap_or(-judged.loss)
    };
    let devices = runs.first().map_or(0, |run| run.devices.len());
    let of_device = |index: usize| {
        let tried = runs.iter().map(|run| Best {
            epochs: run.epochs,
            judged: run.devices[index].clone(),
        });
        tried.reduce(
            |best, next| match merit(&next.judged) > merit(&best.judged) {
                true => next,
                false => best,
            },
        )
    };
    (0..devices).filter_map(of_device).collect()
}

/// Tests an exported model, which takes raw columns, on each home's test rows.
///
/// # Errors
/// Settings, job, model or data cannot be used.
pub fn evaluate(arguments: &EvaluateArguments) -> anyhow::Result<Evaluated> {
    let (job, sites) = open(&arguments.job, &arguments.homes)?;
    let place = || arguments.model.display().to_string();
    let output = job.options.output.as_deref();
    let model = read(&arguments.model)?;
    let mut model = ExportedModel::of_output(&model, output).with_context(place)?;
    let devices = sites
        .iter()
        .map(|site| judge(&mut model, &job, site).with_context(place));
    let evaluated = Evaluated {
        job: job.job.to_string(),
        devices: devices.collect::<anyhow::Result<_>>()?,
    };
    write(arguments.json.as_deref(), &evaluated)?;
    Ok(evaluated)
}

fn judge(model: &mut ExportedModel, job: &JobSpec, site: &Site) -> anyhow::Result<Judged> {
    let (test, loss) = (&site.data.test, job.training.loss);
    let raw = raw_inputs(&job.data, test, &model.inputs())?;
    let score = model.score(&raw, &targets(loss, &test.answers)?, loss)?;
    let mean = |sum: f64| sum / score.examples.max(1) as f64;
    let tells_classes = loss.is_classification();
    Ok(site.score(
        tells_classes.then(|| mean(score.correct as f64)),
        (!tells_classes).then(|| mean(score.absolute_error_sum)),
        mean(score.loss_sum),
    ))
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: Option<&Path>, result: &impl Serialize) -> anyhow::Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    let mut text = serde_json::to_vec_pretty(result).context("the result is no JSON")?;
    text.push(b'\n');
    Ok(write_atomic(file, &text, Access::Umask)?)
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceName(device) = &self.device;
        let (trained, tested) = (self.examples_train, self.examples_test);
        write!(
            f,
            "{device:<24} {trained:>9} {tested:>8}   loss {:.4}",
            self.loss
        )?;
        if let Some(accuracy) = self.accuracy {
            write!(f, "  accuracy {accuracy:.4}")?;
        }
        if let Some(error) = self.absolute_error {
            write!(f, "  absolute error {error:.4}")?;
        }
        Ok(())
    }
}

/// Above the lines of devices.
const HEADING: &str = "device                    training     test";

impl fmt::Display for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            writeln!(
                f,
                "{} epochs over {} examples",
                run.epochs, self.examples_train
            )?;
            writeln!(f, "{HEADING}")?;
            run.devices
                .iter()
                .try_for_each(|judged| writeln!(f, "{judged}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        self.devices
            .iter()
            .try_for_each(|judged| writeln!(f, "{judged}"))
    }
}
