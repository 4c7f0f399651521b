//! Plans for unit tests, and a file that takes its time.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Makes a file that whoever opens waits for, until [`fed`] lets him go on.
pub(crate) fn slow_file(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Works while readers of a slow file find nothing in it; `meanwhile` is done before each has read it.
pub(crate) fn fed<T>(slow: &Path, meanwhile: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let _writer = OpenOptions::new().write(true).open(slow).unwrap();
                meanwhile();
            }
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        // Held until the thread has ended, which waits for a reader.
        let reader = OpenOptions::new().read(true).write(true).open(slow);
        (done, reader.unwrap())
    })
    .0
}
