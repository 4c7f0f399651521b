//! Plans, contributions, sums and log entries with fixed contents.

use fl_model::{
    Absence, AdaptiveRule, Contribution, DataSpec, Decay, DeviceId, Digest, Epoch, EvaluateWork,
    EvaluationCounters, Feature, FeatureSpec, FeatureStatistics, Grid, GridWidth, ImageFolder,
    ImageLayout, Inputs, JobEnd, JobFailure, JobSpec, Label, LocalOptimizer, LogEntry, Loss,
    ModelOptions, Normalization, ObjectRef, PartialSum, Payload, Phase, PhaseResult, Privacy,
    ProtectedUpdate, Reason, RegionAbsence, RegionSummary, RoundOutcome, RoundPlan, Schedule,
    ServerOptimizer, Split, Sum, TableInputs, TensorElements, TensorInput, TensorScale,
    TensorSource, TrainMetrics, TrainWork, TrainingSpec, UpdateSum, Weighting, Window, WindowLabel,
    WindowLayout, Work,
};

use super::*;

pub(super) fn object(name: &str) -> ObjectRef {
    ObjectRef::to(name.as_bytes())
}

pub(super) fn data() -> DataSpec {
    let features = vec![
        Feature::Numeric {
            column: "CO".to_owned(),
        },
        Feature::Cyclic {
            source: "hour".to_owned(),
            period: 24.0,
        },
        Feature::Categorical {
            column: "wd".to_owned(),
            categories: vec!["N".to_owned(), "SSW".to_owned()],
        },
    ];
    DataSpec {
        inputs: Inputs::Table(TableInputs {
            weight: Some("quality".to_owned()),
            features: FeatureSpec {
                features,
                clip: 4.5,
            },
            time_column: Some("time".to_owned()),
            window: Some(Window {
                length: 24,
                stride: 6,
                layout: WindowLayout::ChannelsFirst,
                label: WindowLabel::Majority,
            }),
        }),
        label: Label::Above {
            column: "PM2.5".to_owned(),
            limit: 75.0,
        },
        split: Split::Rows {
            train: (0, Some(26280)),
            test: (26280, None),
        },
    }
}

/// Inputs of every kind of array.
fn tensors() -> Vec<TensorInput> {
    let array = |name: &str, dims: &[u64], elements| TensorInput {
        name: name.to_owned(),
        source: TensorSource::Array {
            array: format!("{name}s"),
            dims: dims.to_vec(),
        },
        elements,
    };
    let scale = TensorElements::Numbers;
    let fixed = TensorScale::Fixed {
        mean: 127.5,
        deviation: 64.0,
    };
    let channels = Some(0);
    vec![
        array(
            "image",
            &[3, 28, 28],
            scale(TensorScale::Statistics { channels }),
        ),
        array(
            "level",
            &[],
            scale(TensorScale::Statistics { channels: None }),
        ),
        array("mask", &[28, 28], scale(fixed)),
        array("token", &[16], TensorElements::Indices),
    ]
}

/// Data of inputs by name.
fn data_of_tensors() -> DataSpec {
    DataSpec {
        inputs: Inputs::Tensors(tensors()),
        ..data()
    }
}

/// Data of a folder of images.
fn data_of_images() -> DataSpec {
    let images = ImageFolder {
        folder: "images".to_owned(),
        height: 28,
        width: 24,
        channels: 3,
        layout: ImageLayout::ChannelsLast,
        resize: true,
    };
    DataSpec {
        inputs: Inputs::Tensors(vec![TensorInput {
            name: "image".to_owned(),
            source: TensorSource::Images(images),
            elements: TensorElements::Numbers(TensorScale::PLAIN),
        }]),
        label: Label::Class {
            column: "images".to_owned(),
            classes: vec!["cat".to_owned(), "dog".to_owned()],
        },
        split: Split::Tail {
            test_fraction: 0.25,
        },
    }
}

pub(super) fn options() -> ModelOptions {
    ModelOptions {
        output: Some("logits".to_owned()),
        frozen: vec!["encoder.*".to_owned()],
        local: vec!["head.?".to_owned(), "*.bn.*".to_owned()],
    }
}

pub(super) fn training() -> TrainingSpec {
    TrainingSpec {
        loss: Loss::BinaryCrossEntropy,
        optimizer: LocalOptimizer::Sgd {
            momentum: 0.9,
            nesterov: true,
        },
        learning_rate: 0.05,
        gradient_norm_max: 5.0,
        weight_decay: 1e-5,
        proximal: 0.0,
        local_epochs: 2,
        batch_size: 32,
        class_weights: vec![1.0, 2.5],
    }
}

pub(super) fn normalization() -> Normalization {
    Normalization {
        mean: vec![1230.5, 0.0, 0.0, 0.0, 0.0],
        scale: vec![0.1, 1.0, 1.0, 1.0, 1.0],
    }
}

pub(super) fn grid() -> Grid {
    Grid {
        width: GridWidth::W32,
        exponents: vec![-30, -28],
    }
}

pub(super) fn train_work() -> TrainWork {
    TrainWork {
        training: training(),
        normalization: normalization(),
        grid: grid(),
        clip_norm: 10.0,
        weighting: Weighting::Capped,
        weight_max: 4096,
        privacy: Privacy::Off,
        seed: 42,
    }
}

/// Plans over other data than a table's.
pub(crate) fn plans_of_tensors() -> [(&'static str, RoundPlan); 2] {
    let of = |data| RoundPlan {
        data,
        ..plan(Phase::Statistics)
    };
    [
        ("plan_of_arrays", of(data_of_tensors())),
        ("plan_of_images", of(data_of_images())),
    ]
}

pub(crate) fn plan(phase: Phase) -> RoundPlan {
    let work = match phase {
        Phase::Statistics => Work::Statistics,
        Phase::Train => Work::Train(Box::new(train_work())),
        Phase::Evaluate => Work::Evaluate(EvaluateWork {
            loss: Loss::Huber { delta: 1.5 },
            normalization: normalization(),
        }),
    };
    RoundPlan {
        key: round_key(phase),
        epoch: Epoch(3),
        model: object("model"),
        options: options(),
        draw: Some(7),
        parameters: ObjectRef::to(&[0; 1000]),
        data: data(),
        work,
        quorum: 8,
        contributions_max: 12,
        deadline_ms: 20_000,
        trace: trace(),
        region_contributions_max: 5,
    }
}

pub(super) fn statistics() -> FeatureStatistics {
    FeatureStatistics {
        rows: 1440,
        count: vec![1400, 1440],
        missing: vec![40, 0],
        sum: vec![-5, i128::MAX],
        squares: vec![i128::MIN, 1 << 70],
    }
}

pub(super) fn counters() -> EvaluationCounters {
    EvaluationCounters {
        examples: 8784,
        correct: 7600,
        loss: -1_048_576,
        confusion: vec![4000, 600, 584, 3600],
        absolute_error: 0,
        squared_error: i128::from(i64::MAX) + 1,
    }
}

pub(crate) fn contribution(phase: Phase) -> Contribution {
    let payload = match phase {
        Phase::Statistics => Payload::Statistics(statistics()),
        Phase::Train => Payload::Update {
            update: ProtectedUpdate::Plain {
                weight: 1440,
                q: vec![vec![1, -2, 32767, -32768], vec![i32::MIN, 40_000, 0]],
            },
            metrics: TrainMetrics {
                examples: 1440,
                loss: 734_003,
                magnitudes: vec![-3, Grid::ALL_ZERO],
                saturated: vec![0, 1],
            },
        },
        Phase::Evaluate => Payload::Evaluation(counters()),
    };
    Contribution {
        key: contribution_key(phase),
        payload,
    }
}

pub(crate) fn partial(phase: Phase) -> PartialSum {
    let sum = match phase {
        Phase::Statistics => Sum::Statistics(statistics()),
        Phase::Train => Sum::Update(UpdateSum {
            wq: vec![vec![i64::MIN, 0, 1 << 40, -1], vec![i64::MAX; 3]],
            weight: 2880,
            updates: 2,
            examples: 2880,
            loss: 1_468_006,
            magnitudes: vec![-3, -1],
            saturated: vec![0, 2],
        }),
        Phase::Evaluate => Sum::Evaluation(counters()),
    };
    PartialSum {
        key: round_key(phase),
        region: region(),
        epoch: Epoch(3),
        sum,
        contributors: vec![device(), DeviceId::new("edge-02").unwrap()],
        absent: vec![Absence {
            device: DeviceId::new("edge-03").unwrap(),
            reason: Reason::Disconnected,
        }],
        edge_up_bytes: 123_456,
        down_bytes: 654_321,
    }
}

pub(super) fn job_spec() -> JobSpec {
    JobSpec {
        job: job(),
        model: "particle-mlp".to_owned(),
        rounds: 30,
        quorum: 8,
        deadline_ms: 20_000,
        seed: 42,
        randomize: true,
        options: options(),
        schedule: Schedule {
            warmup_rounds: 3,
            decay: Decay::Cosine { end: 0.1 },
        },
        training: TrainingSpec {
            optimizer: LocalOptimizer::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                decoupled: true,
            },
            ..training()
        },
        data: data(),
        grid: GridWidth::W32,
        clip_norm: 10.0,
        weighting: Weighting::Examples,
        weight_max: 4096,
        contributions_max: 12,
        server: ServerOptimizer::Adaptive {
            rule: AdaptiveRule::Yogi,
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            tau: 0.001,
        },
    }
}

/// One entry of every variant, and of every result.
pub(crate) fn log_entries() -> Vec<(&'static str, LogEntry)> {
    let key = round_key(Phase::Train);
    let at_us = 1_795_000_000_000_000;
    let settled = |phase, result| LogEntry::Settled {
        key: round_key(phase),
        result: Box::new(result),
        at_us,
    };
    vec![
        (
            "submitted",
            LogEntry::Submitted {
                spec: Box::new(job_spec()),
                model: object("model"),
                parameters: object("parameters"),
                tensors: vec![4, 3],
                at_us,
            },
        ),
        (
            "led",
            LogEntry::Led {
                epoch: Epoch(3),
                at_us,
            },
        ),
        (
            "opened",
            LogEntry::Opened {
                plan: Box::new(plan(Phase::Train)),
                regions: vec![region()],
                at_us,
            },
        ),
        (
            "partial_accepted",
            LogEntry::PartialAccepted {
                key: key.clone(),
                region: region(),
                digest: Digest::of(b"partial"),
                summary: RegionSummary {
                    contributors: 2,
                    absent: partial(Phase::Train).absent,
                    edge_up_bytes: 123_456,
                    fog_up_bytes: 1_000,
                    down_bytes: 654_321,
                    absent_more: 3,
                },
                at_us,
            },
        ),
        (
            "closed",
            LogEntry::Closed {
                key,
                outcome: RoundOutcome::NoQuorum,
                absent: vec![RegionAbsence {
                    region: region(),
                    reason: Reason::FogSilent,
                }],
                at_us,
            },
        ),
        (
            "settled_statistics",
            settled(
                Phase::Statistics,
                PhaseResult::Statistics {
                    rows: 17_280,
                    normalization: normalization(),
                },
            ),
        ),
        (
            "settled_train",
            settled(
                Phase::Train,
                PhaseResult::Train {
                    parameters: object("next parameters"),
                    moments: Some(object("moments")),
                    grid: grid(),
                    examples: 17_280,
                    loss: 0.3712,
                },
            ),
        ),
        (
            "settled_evaluate",
            settled(Phase::Evaluate, PhaseResult::Evaluate(counters())),
        ),
        (
            "ended",
            LogEntry::Ended {
                how: JobEnd::Finished,
                at_us,
            },
        ),
        (
            "failed",
            LogEntry::Ended {
                how: JobEnd::Failed(JobFailure::Diverged),
                at_us,
            },
        ),
    ]
}
