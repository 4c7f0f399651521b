//! The job file: one TOML that says what is trained, on which columns, for how many rounds.

use std::path::Path;

use fl_model::{
    AdaptiveRule, DataSpec, Feature, FeatureSpec, GridWidth, InvalidName, JobId, JobSpec, Label,
    LocalOptimizer, Loss, Overflow, ServerOptimizer, Split, TrainingSpec, Weighting,
};
use serde::Deserialize;

use crate::settings::{self, SettingsError};

/// Most columns of a job's encoded input.
pub const ENCODED_COLUMNS_MAX: usize = 1024;

/// A job file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// It is no TOML, or has an unknown key or a wrong type.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The job's name cannot stand in a topic.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Its exact sums could overflow.
    #[error("{place}: {overflow}")]
    Overflow {
        /// The file.
        place: String,
        /// The numbers.
        overflow: Overflow,
    },
    /// A value is out of its range, or two values do not go together.
    #[error("{place}: {what}")]
    Value {
        /// The file.
        place: String,
        /// Which value, and what it may be.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    job: String,
    model: String,
    rounds: u32,
    quorum: u32,
    deadline_s: f64,
    #[serde(default)]
    seed: u64,
    /// Whether to draw initial weights by the seed instead of taking those in the model.
    #[serde(default)]
    randomize: bool,
    training: Training,
    #[serde(default)]
    sum: Summing,
    #[serde(default)]
    server: Server,
    data: Data,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    loss: LossName,
    huber_delta: Option<f32>,
    #[serde(default)]
    optimizer: OptimizerName,
    learning_rate: f32,
    #[serde(default)]
    momentum: f32,
    beta1: Option<f32>,
    beta2: Option<f32>,
    epsilon: Option<f32>,
    #[serde(default)]
    weight_decay: f32,
    #[serde(default)]
    proximal: f32,
    local_epochs: u32,
    batch_size: u32,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum LossName {
    SoftmaxCrossEntropy,
    BinaryCrossEntropy,
    MeanSquaredError,
    MeanAbsoluteError,
    Huber,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum OptimizerName {
    #[default]
    Sgd,
    Adam,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Summing {
    grid_bits: u32,
    clip_norm: f32,
    weights: WeightsName,
    weight_max: u64,
    contributions_max: u32,
}

impl Default for Summing {
    fn default() -> Self {
        Self {
            grid_bits: 32,
            clip_norm: 10.0,
            weights: WeightsName::Examples,
            weight_max: 1_000_000,
            contributions_max: 1_000,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum WeightsName {
    Examples,
    Capped,
    Uniform,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Server {
    optimizer: ServerName,
    learning_rate: f32,
    momentum: f32,
    beta1: f32,
    beta2: f32,
    tau: f32,
}

impl Default for Server {
    /// Federated averaging; the adaptive rules take the decays of Reddi et al. (2021), section 5.
    fn default() -> Self {
        Self {
            optimizer: ServerName::Fedavg,
            learning_rate: 1.0,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.99,
            tau: 1e-3,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum ServerName {
    Fedavg,
    Fedavgm,
    Fedadagrad,
    Fedadam,
    Fedyogi,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    time_column: Option<String>,
    #[serde(default = "default_clip")]
    clip: f32,
    features: Vec<FeatureEntry>,
    label: LabelEntry,
    #[serde(default)]
    split: SplitEntry,
}

fn default_clip() -> f32 {
    5.0
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FeatureEntry {
    Name(String),
    Table(FeatureTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureTable {
    column: String,
    period: Option<f32>,
    categories: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelEntry {
    column: String,
    above: Option<f64>,
    classes: Option<Vec<String>>,
}

/// Which rows train and which test, as a job file or a device's settings say it: `train_rows` with
/// `test_rows`, or `test_fraction`, or `column` with `train` and `test`. Without any, the last fifth tests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitEntry {
    /// First and, where it is not the file's end, one past the last training row.
    pub train_rows: Option<Vec<u64>>,
    /// First and, where it is not the file's end, one past the last test row.
    pub test_rows: Option<Vec<u64>>,
    /// Share of the rows, at the end of the file, that test.
    pub test_fraction: Option<f64>,
    /// The column that says it.
    pub column: Option<String>,
    /// Its value on training rows; `train` where it is not said.
    pub train: Option<String>,
    /// Its value on test rows; `test` where it is not said.
    pub test: Option<String>,
}

impl SplitEntry {
    /// The rule, or what is wrong with it.
    pub fn rule(&self) -> Result<Split, String> {
        let ways = [
            self.train_rows.is_some() || self.test_rows.is_some(),
            self.test_fraction.is_some(),
            self.column.is_some(),
        ];
        if ways.into_iter().filter(|&way| way).count() > 1 {
            let what = "split takes one of: train_rows with test_rows; test_fraction; column";
            return Err(what.to_owned());
        }
        if let Some(column) = &self.column {
            let value = |of: &Option<String>, or: &str| of.clone().unwrap_or_else(|| or.to_owned());
            return Ok(Split::Column {
                column: column.clone(),
                train: value(&self.train, "train"),
                test: value(&self.test, "test"),
            });
        }
        if ways[0] {
            return Ok(Split::Rows {
                train: rows("train_rows", self.train_rows.as_deref())?,
                test: rows("test_rows", self.test_rows.as_deref())?,
            });
        }
        let test_fraction = self.test_fraction.unwrap_or(0.2);
        if !(test_fraction > 0.0 && test_fraction < 1.0) {
            return Err(format!(
                "test_fraction is {test_fraction}: it must be between 0 and 1"
            ));
        }
        Ok(Split::Tail { test_fraction })
    }
}

fn rows(key: &str, range: Option<&[u64]>) -> Result<(u64, Option<u64>), String> {
    match range {
        Some(&[first]) => Ok((first, None)),
        Some(&[first, end]) if first < end => Ok((first, Some(end))),
        _ => Err(format!(
            "{key} must be [first] or [first, one past the last], counted from 0 after the header"
        )),
    }
}

/// Reads a job file.
pub fn load(path: &Path) -> Result<JobSpec, JobFileError> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| JobFileError::Value {
        what: format!("cannot be read: {error}"),
        place: place.clone(),
    })?;
    parse(&text, &place)
}

/// Reads the text of a job file; `place` names it in errors.
pub fn parse(text: &str, place: &str) -> Result<JobSpec, JobFileError> {
    let file: JobFile = settings::parse(text, place)?;
    let job = JobId::new(&file.job)?;
    let wrong = |what| JobFileError::Value {
        place: place.to_owned(),
        what,
    };
    let spec = file.into_spec(job).map_err(wrong)?;
    spec.check_overflow()
        .map_err(|overflow| JobFileError::Overflow {
            place: place.to_owned(),
            overflow,
        })?;
    Ok(spec)
}

fn positive(key: &str, value: f32) -> Result<f32, String> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(format!("{key} is {value}: it must be above 0"))
}

fn at_least_zero(key: &str, value: f32) -> Result<f32, String> {
    if value >= 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(format!("{key} is {value}: it must be 0 or above"))
}

fn decay(key: &str, value: f32) -> Result<f32, String> {
    if (0.0..1.0).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{key} is {value}: it must be at least 0 and below 1"
    ))
}

fn one_or_more(key: &str, value: u32) -> Result<u32, String> {
    if value > 0 {
        return Ok(value);
    }
    Err(format!("{key} is 0: it must be 1 or more"))
}

impl JobFile {
    fn into_spec(self, job: JobId) -> Result<JobSpec, String> {
        let deadline_ms = self.deadline_s * 1000.0;
        if !(deadline_ms >= 1.0 && deadline_ms <= f64::from(u32::MAX)) {
            return Err(format!(
                "deadline_s is {}: it must be above 0",
                self.deadline_s
            ));
        }
        let contributions_max = one_or_more("sum.contributions_max", self.sum.contributions_max)?;
        let quorum = one_or_more("quorum", self.quorum)?;
        if quorum > contributions_max {
            return Err(format!(
                "quorum is {quorum}, above sum.contributions_max {contributions_max}: no round could meet it"
            ));
        }
        let grid = GridWidth::from_bits(self.sum.grid_bits).ok_or_else(|| {
            format!(
                "sum.grid_bits is {}: it must be 16 or 32",
                self.sum.grid_bits
            )
        })?;
        let training = self.training.spec()?;
        let data = self.data.spec(training.loss)?;
        if self.sum.weight_max == 0 {
            return Err("sum.weight_max is 0: it must be 1 or more".to_owned());
        }
        Ok(JobSpec {
            job,
            model: self.model,
            rounds: one_or_more("rounds", self.rounds)?,
            quorum,
            deadline_ms: deadline_ms as u32,
            seed: self.seed,
            randomize: self.randomize,
            training,
            data,
            grid,
            clip_norm: positive("sum.clip_norm", self.sum.clip_norm)?,
            weighting: match self.sum.weights {
                WeightsName::Examples => Weighting::Examples,
                WeightsName::Capped => Weighting::Capped,
                WeightsName::Uniform => Weighting::Uniform,
            },
            weight_max: self.sum.weight_max,
            contributions_max,
            server: self.server.optimizer()?,
        })
    }
}

impl Training {
    fn spec(&self) -> Result<TrainingSpec, String> {
        let loss = match (self.loss, self.huber_delta) {
            (LossName::SoftmaxCrossEntropy, None) => Loss::SoftmaxCrossEntropy,
            (LossName::BinaryCrossEntropy, None) => Loss::BinaryCrossEntropy,
            (LossName::MeanSquaredError, None) => Loss::MeanSquaredError,
            (LossName::MeanAbsoluteError, None) => Loss::MeanAbsoluteError,
            (LossName::Huber, delta) => Loss::Huber {
                delta: positive("training.huber_delta", delta.unwrap_or(1.0))?,
            },
            (_, Some(_)) => return Err("training.huber_delta goes with loss = \"huber\"".into()),
        };
        let optimizer = match self.optimizer {
            OptimizerName::Sgd => LocalOptimizer::Sgd {
                momentum: decay("training.momentum", self.momentum)?,
            },
            OptimizerName::Adam => LocalOptimizer::Adam {
                beta1: decay("training.beta1", self.beta1.unwrap_or(0.9))?,
                beta2: decay("training.beta2", self.beta2.unwrap_or(0.999))?,
                epsilon: positive("training.epsilon", self.epsilon.unwrap_or(1e-8))?,
            },
        };
        Ok(TrainingSpec {
            loss,
            optimizer,
            learning_rate: positive("training.learning_rate", self.learning_rate)?,
            weight_decay: at_least_zero("training.weight_decay", self.weight_decay)?,
            proximal: at_least_zero("training.proximal", self.proximal)?,
            local_epochs: one_or_more("training.local_epochs", self.local_epochs)?,
            batch_size: one_or_more("training.batch_size", self.batch_size)?,
        })
    }
}

impl Server {
    fn optimizer(&self) -> Result<ServerOptimizer, String> {
        let learning_rate = positive("server.learning_rate", self.learning_rate)?;
        let adaptive = |rule| {
            Ok(ServerOptimizer::Adaptive {
                rule,
                learning_rate,
                beta1: decay("server.beta1", self.beta1)?,
                beta2: decay("server.beta2", self.beta2)?,
                tau: positive("server.tau", self.tau)?,
            })
        };
        match self.optimizer {
            ServerName::Fedavg => Ok(ServerOptimizer::FedAvg { learning_rate }),
            ServerName::Fedavgm => Ok(ServerOptimizer::FedAvgM {
                learning_rate,
                momentum: decay("server.momentum", self.momentum)?,
            }),
            ServerName::Fedadagrad => adaptive(AdaptiveRule::Adagrad),
            ServerName::Fedadam => adaptive(AdaptiveRule::Adam),
            ServerName::Fedyogi => adaptive(AdaptiveRule::Yogi),
        }
    }
}

impl Data {
    fn spec(self, loss: Loss) -> Result<DataSpec, String> {
        let features: Vec<Feature> = self
            .features
            .into_iter()
            .map(FeatureEntry::feature)
            .collect::<Result<_, _>>()?;
        let inputs = FeatureSpec {
            features,
            clip: positive("data.clip", self.clip)?,
        };
        let width = inputs.encoded_width();
        if width == 0 || width > ENCODED_COLUMNS_MAX {
            return Err(format!(
                "data.features make {width} input columns: 1 to {ENCODED_COLUMNS_MAX} are allowed"
            ));
        }
        let names: Vec<&str> = inputs.features.iter().map(Feature::name).collect();
        let twice = names
            .iter()
            .enumerate()
            .find(|(i, name)| names[..*i].contains(name));
        if let Some((_, name)) = twice {
            return Err(format!("data.features names {name:?} twice"));
        }
        let label = self.label.label(loss)?;
        if names.contains(&label.column()) {
            let column = label.column();
            return Err(format!(
                "data.features holds the label {column:?}: the model would just copy it"
            ));
        }
        Ok(DataSpec {
            inputs,
            label,
            time_column: self.time_column,
            split: self.split.rule().map_err(|what| format!("data.{what}"))?,
        })
    }
}

impl FeatureEntry {
    fn feature(self) -> Result<Feature, String> {
        let table = match self {
            FeatureEntry::Name(column) => return Ok(Feature::Numeric { column }),
            FeatureEntry::Table(table) => table,
        };
        let column = table.column;
        match (table.period, table.categories) {
            (None, None) => Ok(Feature::Numeric { column }),
            (Some(period), None) => Ok(Feature::Cyclic {
                period: positive(&format!("the period of feature {column:?}"), period)?,
                source: column,
            }),
            (None, Some(categories)) if !categories.is_empty() => {
                Ok(Feature::Categorical { column, categories })
            }
            (None, Some(_)) => Err(format!("the categories of feature {column:?} are empty")),
            (Some(_), Some(_)) => Err(format!(
                "feature {column:?} has a period and categories: take one"
            )),
        }
    }
}

impl LabelEntry {
    fn label(self, loss: Loss) -> Result<Label, String> {
        let column = self.column;
        let label = match (self.above, self.classes) {
            (Some(limit), None) => Label::Above { column, limit },
            (None, Some(classes)) if classes.len() >= 2 => Label::Class { column, classes },
            (None, Some(_)) => return Err("data.label.classes needs two classes or more".into()),
            (None, None) => Label::Value { column },
            (Some(_), Some(_)) => return Err("data.label takes above or classes, not both".into()),
        };
        let fits = match loss {
            Loss::BinaryCrossEntropy => label.classes() == Some(2),
            Loss::SoftmaxCrossEntropy => label.classes().is_some(),
            _ => label.classes().is_none(),
        };
        if fits {
            return Ok(label);
        }
        Err("data.label does not fit training.loss: binary_cross_entropy takes above or two classes, \
             softmax_cross_entropy takes classes, the other losses take a plain column"
            .to_owned())
    }
}

#[cfg(test)]
mod tests;
