//! The `training` section of a job file.

use fl_model::{Decay, LocalOptimizer, Loss, ModelOptions, Schedule, TrainingSpec};
use serde::Deserialize;

use super::{at_least_zero, decay, one_or_more, positive};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Training {
    loss: LossName,
    huber_delta: Option<f32>,
    #[serde(default)]
    optimizer: OptimizerName,
    learning_rate: f32,
    #[serde(default)]
    momentum: f32,
    #[serde(default)]
    nesterov: bool,
    beta1: Option<f32>,
    beta2: Option<f32>,
    epsilon: Option<f32>,
    #[serde(default)]
    schedule: ScheduleName,
    #[serde(default)]
    warmup_rounds: u32,
    #[serde(default = "default_decay_every")]
    decay_every: u32,
    #[serde(default = "default_decay_factor")]
    decay_factor: f32,
    #[serde(default)]
    decay_end: f32,
    #[serde(default)]
    gradient_norm_max: f32,
    #[serde(default)]
    weight_decay: f32,
    #[serde(default)]
    proximal: f32,
    local_epochs: u32,
    batch_size: u32,
    #[serde(default)]
    class_weights: Vec<f32>,
    output: Option<String>,
    #[serde(default)]
    frozen: Vec<String>,
    #[serde(default)]
    local: Vec<String>,
}

/// Most patterns of parameters in a list.
const PATTERNS_MAX: usize = 64;

fn default_decay_every() -> u32 {
    10
}

fn default_decay_factor() -> f32 {
    0.5
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
    Adamw,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum ScheduleName {
    #[default]
    Constant,
    Step,
    Linear,
    Cosine,
}

impl Training {
    /// The hyper-parameters.
    pub(super) fn spec(&self) -> Result<TrainingSpec, String> {
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
                nesterov: self.nesterov,
            },
            OptimizerName::Adam | OptimizerName::Adamw => LocalOptimizer::Adam {
                beta1: decay("training.beta1", self.beta1.unwrap_or(0.9))?,
                beta2: decay("training.beta2", self.beta2.unwrap_or(0.999))?,
                epsilon: positive("training.epsilon", self.epsilon.unwrap_or(1e-8))?,
                decoupled: matches!(self.optimizer, OptimizerName::Adamw),
            },
        };
        if self.nesterov && self.momentum == 0.0 {
            return Err("training.nesterov goes with training.momentum above 0".into());
        }
        Ok(TrainingSpec {
            loss,
            optimizer,
            learning_rate: positive("training.learning_rate", self.learning_rate)?,
            gradient_norm_max: at_least_zero("training.gradient_norm_max", self.gradient_norm_max)?,
            weight_decay: at_least_zero("training.weight_decay", self.weight_decay)?,
            proximal: at_least_zero("training.proximal", self.proximal)?,
            local_epochs: one_or_more("training.local_epochs", self.local_epochs)?,
            batch_size: one_or_more("training.batch_size", self.batch_size)?,
            class_weights: self.class_weights.clone(),
        })
    }

    /// How the model is taken.
    pub(super) fn options(&self) -> Result<ModelOptions, String> {
        for (key, patterns) in [("frozen", &self.frozen), ("local", &self.local)] {
            if patterns.len() > PATTERNS_MAX {
                return Err(format!(
                    "training.{key} has {} patterns: at most {PATTERNS_MAX} are allowed; `*` stands for any characters",
                    patterns.len()
                ));
            }
            if patterns.iter().any(String::is_empty) {
                return Err(format!("training.{key} has an empty pattern: remove it"));
            }
        }
        if self.output.as_deref() == Some("") {
            return Err("training.output is empty: leave it away for the first output".into());
        }
        Ok(ModelOptions {
            output: self.output.clone(),
            frozen: self.frozen.clone(),
            local: self.local.clone(),
        })
    }

    /// How the learning rate goes over the rounds.
    pub(super) fn schedule(&self) -> Result<Schedule, String> {
        let end = at_least_zero("training.decay_end", self.decay_end)?;
        Ok(Schedule {
            warmup_rounds: self.warmup_rounds,
            decay: match self.schedule {
                ScheduleName::Constant => Decay::Constant,
                ScheduleName::Step => Decay::Step {
                    every: one_or_more("training.decay_every", self.decay_every)?,
                    factor: positive("training.decay_factor", self.decay_factor)?,
                },
                ScheduleName::Linear => Decay::Linear { end },
                ScheduleName::Cosine => Decay::Cosine { end },
            },
        })
    }
}
