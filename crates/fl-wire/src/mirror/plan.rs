//! Plans, jobs and what they are made of.

use fl_model::{
    AdaptiveRule, DataSpec, Decay, Epoch, EvaluateWork, Feature, FeatureSpec, Grid, GridWidth,
    ImageFolder, ImageLayout, Inputs, JobId, JobSpec, Label, LocalOptimizer, Loss, ModelOptions,
    Normalization, ObjectRef, Privacy, RoundKey, RoundPlan, Schedule, ServerOptimizer, Split,
    TableInputs, TensorElements, TensorInput, TensorScale, TensorSource, TraceContext, TrainWork,
    TrainingSpec, Weighting, Window, WindowLabel, WindowLayout, Work,
};

use super::same_length;
use crate::cbor::{mirror_enum, mirror_struct};
use crate::error::WireError;

mirror_enum! {
    Feature, "feature", FeatureMirror {
        Numeric { column: String },
        Cyclic { source: String, period: f32 },
        Categorical { column: String, categories: Vec<String> },
    }
}

mirror_struct! {
    FeatureSpec, "features", FeatureSpecMirror {
        features: Vec<Feature>,
        clip: f32,
    }
}

mirror_enum! {
    Label, "label", LabelMirror {
        Above { column: String, limit: f64 },
        Class { column: String, classes: Vec<String> },
        Value { column: String },
    }
}

mirror_enum! {
    Split, "split", SplitMirror {
        Rows { train: (u64, Option<u64>), test: (u64, Option<u64>) },
        Tail { test_fraction: f64 },
        Column { column: String, train: String, test: String },
    }
}

mirror_enum! {
    WindowLayout, "layout of a window", WindowLayoutMirror { TimeFirst, ChannelsFirst }
}

mirror_enum! {
    WindowLabel, "label of a window", WindowLabelMirror { Last, Majority }
}

mirror_struct! {
    Window, "window", WindowMirror {
        length: u32,
        stride: u32,
        layout: WindowLayout,
        label: WindowLabel,
    }
}

mirror_struct! {
    TableInputs, "table", TableInputsMirror {
        features: FeatureSpec,
        time_column: Option<String>,
        window: Option<Window>,
        weight: Option<String>,
    }
}

mirror_enum! {
    ImageLayout, "layout of images", ImageLayoutMirror { ChannelsFirst, ChannelsLast }
}

mirror_struct! {
    ImageFolder, "images", ImageFolderMirror {
        folder: String,
        height: u32,
        width: u32,
        channels: u32,
        layout: ImageLayout,
        resize: bool,
    }
}

mirror_enum! {
    TensorSource, "source of a tensor", TensorSourceMirror {
        Array { array: String, dims: Vec<u64> },
        Images(ImageFolder),
    }
}

mirror_enum! {
    TensorScale, "scale of a tensor", TensorScaleMirror {
        Fixed { mean: f32, deviation: f32 },
        Statistics { channels: Option<u32> },
    }
}

mirror_enum! {
    TensorElements, "elements of a tensor", TensorElementsMirror {
        Numbers(TensorScale),
        Indices,
    }
}

mirror_struct! {
    TensorInput, "tensor", TensorInputMirror {
        name: String,
        source: TensorSource,
        elements: TensorElements,
    }
}

mirror_enum! {
    Inputs, "inputs", InputsMirror {
        Table(TableInputs),
        Tensors(Vec<TensorInput>),
    }
}

mirror_struct! {
    DataSpec, "data", DataSpecMirror {
        inputs: Inputs,
        label: Label,
        split: Split,
    } check check_data
}

/// Whoever counts columns for a plan may rely on their bounds.
fn check_data(data: &DataSpec) -> Result<(), WireError> {
    match data.inputs.problem() {
        None => Ok(()),
        Some(problem) => Err(WireError::value("inputs", problem)),
    }
}

mirror_struct! {
    Normalization, "normalization", NormalizationMirror {
        mean: Vec<f32>,
        scale: Vec<f32>,
    } check check_normalization
}

fn check_normalization(normalization: &Normalization) -> Result<(), WireError> {
    let Normalization { mean, scale } = normalization;
    same_length("scale of the normalization", mean.len(), scale.len())?;
    if mean.iter().chain(scale).all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(WireError::value("normalization", "an entry is not finite"))
}

mirror_enum! {
    GridWidth, "grid width", GridWidthMirror { W16, W32 }
}

mirror_struct! {
    Grid, "grid", GridMirror {
        width: GridWidth,
        exponents: Vec<i16>,
    } check check_grid
}

fn check_grid(grid: &Grid) -> Result<(), WireError> {
    let allowed = -Grid::EXPONENT_MAX..=Grid::EXPONENT_MAX;
    match grid
        .exponents
        .iter()
        .find(|exponent| !allowed.contains(*exponent))
    {
        None => Ok(()),
        Some(exponent) => {
            let problem = format!("{exponent} is not within ±{}", Grid::EXPONENT_MAX);
            Err(WireError::value("grid exponent", problem))
        }
    }
}

mirror_enum! {
    Loss, "loss", LossMirror {
        SoftmaxCrossEntropy,
        BinaryCrossEntropy,
        MeanSquaredError,
        MeanAbsoluteError,
        Huber { delta: f32 },
    }
}

mirror_struct! {
    ModelOptions, "model options", ModelOptionsMirror {
        output: Option<String>,
        frozen: Vec<String>,
        local: Vec<String>,
    }
}

mirror_enum! {
    LocalOptimizer, "local optimiser", LocalOptimizerMirror {
        Sgd { momentum: f32, nesterov: bool },
        Adam { beta1: f32, beta2: f32, epsilon: f32, decoupled: bool },
    }
}

mirror_enum! {
    Decay, "decay of the learning rate", DecayMirror {
        Constant,
        Step { every: u32, factor: f32 },
        Linear { end: f32 },
        Cosine { end: f32 },
    }
}

mirror_struct! {
    Schedule, "schedule of the learning rate", ScheduleMirror {
        warmup_rounds: u32,
        decay: Decay,
    }
}

mirror_struct! {
    TrainingSpec, "local training", TrainingSpecMirror {
        loss: Loss,
        optimizer: LocalOptimizer,
        learning_rate: f32,
        gradient_norm_max: f32,
        weight_decay: f32,
        proximal: f32,
        local_epochs: u32,
        batch_size: u32,
        class_weights: Vec<f32>,
    }
}

mirror_enum! {
    Privacy, "privacy", PrivacyMirror { Off }
}

mirror_enum! {
    Weighting, "weighting", WeightingMirror {
        Examples,
        Capped,
        Uniform
    }
}

mirror_struct! {
    TrainWork, "training work", TrainWorkMirror {
        training: TrainingSpec,
        normalization: Normalization,
        grid: Grid,
        clip_norm: f32,
        weighting: Weighting,
        weight_max: u64,
        privacy: Privacy,
        seed: u64,
    }
}

mirror_struct! {
    EvaluateWork, "evaluation work", EvaluateWorkMirror {
        loss: Loss,
        normalization: Normalization,
    }
}

mirror_enum! {
    Work, "work", WorkMirror {
        Statistics,
        Train(Box<TrainWork>),
        Evaluate(EvaluateWork),
    }
}

mirror_struct! {
    RoundPlan, "plan", RoundPlanMirror {
        key: RoundKey,
        epoch: Epoch,
        model: ObjectRef,
        options: ModelOptions,
        draw: Option<u64>,
        parameters: ObjectRef,
        data: DataSpec,
        work: Work,
        quorum: u32,
        contributions_max: u32,
        deadline_ms: u32,
        trace: TraceContext,
        region_contributions_max: u32,
    } check check_plan
}

fn check_plan(plan: &RoundPlan) -> Result<(), WireError> {
    if plan.phase() == plan.key.phase {
        return Ok(());
    }
    let problem = format!("a plan for {} asks for {}", plan.key, plan.phase());
    Err(WireError::value("plan", problem))
}

mirror_enum! {
    AdaptiveRule, "adaptive rule", AdaptiveRuleMirror {
        Adagrad,
        Adam,
        Yogi
    }
}

mirror_enum! {
    ServerOptimizer, "server optimiser", ServerOptimizerMirror {
        FedAvg { learning_rate: f32 },
        FedAvgM { learning_rate: f32, momentum: f32 },
        Adaptive { rule: AdaptiveRule, learning_rate: f32, beta1: f32, beta2: f32, tau: f32 },
    }
}

mirror_struct! {
    JobSpec, "job", JobSpecMirror {
        job: JobId,
        model: String,
        rounds: u32,
        quorum: u32,
        deadline_ms: u32,
        seed: u64,
        randomize: bool,
        options: ModelOptions,
        training: TrainingSpec,
        schedule: Schedule,
        data: DataSpec,
        grid: GridWidth,
        clip_norm: f32,
        weighting: Weighting,
        weight_max: u64,
        contributions_max: u32,
        server: ServerOptimizer,
    }
}
