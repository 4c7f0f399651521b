//! The job file: one TOML that says what is trained, on which columns, for how many rounds.

use std::path::Path;

use fl_model::{
    AdaptiveRule, GridWidth, InvalidName, JobId, JobSpec, Overflow, ServerOptimizer, Weighting,
};
use serde::Deserialize;

use crate::settings::{self, SettingsError};

mod data;
mod inputs;
mod training;

use data::Data;
pub use data::{ENCODED_COLUMNS_MAX, SplitEntry};
use training::Training;

/// A job file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// It is no TOML, or has an unknown key or a wrong type.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The job's name cannot stand in a topic.
    #[error("{place}: job: {name}")]
    Name {
        /// The file.
        place: String,
        /// The name, and what one is.
        name: InvalidName,
    },
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
    let job = JobId::new(&file.job).map_err(|name| JobFileError::Name {
        place: place.to_owned(),
        name,
    })?;
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
        if !(1.0..=f64::from(u32::MAX)).contains(&deadline_ms) {
            return Err(format!(
                "deadline_s is {}: it must be from 0.001 to {} seconds",
                self.deadline_s,
                u32::MAX / 1000
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
        if let Some(problem) = training.class_weights_problem(data.label.classes()) {
            return Err(format!("training.class_weights: {problem}"));
        }
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
            schedule: self.training.schedule()?,
            options: self.training.options()?,
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

#[cfg(test)]
mod tests;
