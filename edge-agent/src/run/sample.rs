//! Plans for unit tests.

use fl_model::{
    DataSpec, Epoch, Feature, FeatureSpec, Grid, GridWidth, JobId, Label, Loss, Normalization,
    ObjectRef, Phase, Privacy, RoundKey, RoundNumber, RoundPlan, Split, TraceContext, TrainWork,
    TrainingSpec, Weighting, Work,
};

/// A statistics plan over these objects.
pub(crate) fn plan(model: &[u8], parameters: &[u8]) -> RoundPlan {
    RoundPlan {
        key: RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(0),
            phase: Phase::Statistics,
        },
        epoch: Epoch(1),
        model: ObjectRef::to(model),
        options: fl_model::ModelOptions::PLAIN,
        draw: None,
        parameters: ObjectRef::to(parameters),
        data: DataSpec {
            inputs: FeatureSpec {
                features: vec![Feature::Numeric {
                    column: "x".to_owned(),
                }],
                clip: 5.0,
            }
            .into(),
            label: Label::Value {
                column: "y".to_owned(),
            },
            split: Split::Tail { test_fraction: 0.5 },
        },
        work: Work::Statistics,
        quorum: 1,
        contributions_max: 10,
        region_contributions_max: 10,
        deadline_ms: 1_000,
        trace: TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
        },
    }
}

/// Training work with that largest weight.
pub(crate) fn train_work(weight_max: u64) -> TrainWork {
    TrainWork {
        training: TrainingSpec {
            batch_size: 8,
            ..TrainingSpec::plain(Loss::BinaryCrossEntropy, 0.1)
        },
        normalization: Normalization {
            mean: vec![0.0],
            scale: vec![1.0],
        },
        grid: Grid::for_clip_norm(GridWidth::W32, 10.0, 2),
        clip_norm: 10.0,
        weighting: Weighting::Examples,
        weight_max,
        privacy: Privacy::Off,
        seed: 1,
    }
}
