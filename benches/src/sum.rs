//! How fast a fog adds contributions up, against what memory gives on the same machine.

use std::hint::black_box;

use anyhow::Context as _;
use fl_aggregate::ExactSum;
use fl_model::{
    DataSpec, Epoch, FeatureSpec, Grid, GridWidth, JobId, Label, LocalOptimizer, Loss,
    Normalization, ObjectRef, Payload, Phase, Privacy, ProtectedUpdate, RoundKey, RoundNumber,
    RoundPlan, Split, TraceContext, TrainMetrics, TrainWork, TrainingSpec, Weighting, Work,
};

use crate::report::{Report, Row, median};

/// Coordinates of the models that are summed: in cache, and far out of it.
const COORDINATES: [usize; 3] = [10_000, 1_663_370, 20_000_000];

/// Contributions that are added in one measurement.
const CONTRIBUTIONS: u64 = 4;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    for coordinates in COORDINATES {
        let plan = plan()?;
        let payload = Payload::Update {
            update: ProtectedUpdate::Plain {
                weight: 1440,
                q: vec![
                    (0..coordinates as i32)
                        .map(|i| i * 7919 % 1_000_003)
                        .collect(),
                ],
            },
            metrics: TrainMetrics {
                examples: 1440,
                loss: 1,
                magnitudes: vec![0],
                saturated: vec![0],
            },
        };
        let mut sum = ExactSum::empty(&plan, &[coordinates]);
        let adding = median(|| {
            for _ in 0..CONTRIBUTIONS {
                sum.add(&payload)?;
            }
            Ok(())
        })?;
        // An addition reads 4 bytes of the contribution, and reads and writes 8 of the sum; what memory
        // gives is measured by a loop of the same traffic that does nothing else.
        let (source, mut target) = (vec![1i32; coordinates], vec![0i64; coordinates]);
        let copying = median(|| {
            for _ in 0..CONTRIBUTIONS {
                for (to, &from) in target.iter_mut().zip(&source) {
                    *to = to.wrapping_add(i64::from(from));
                }
                black_box(&mut target);
            }
            Ok(())
        })?;
        let gigabytes = (coordinates as u64 * CONTRIBUTIONS * 20) as f64 / 1e9;
        let (adding, copying) = (adding.as_secs_f64(), copying.as_secs_f64());
        report.add(
            Row::new("exact sum")
                .parameter("coordinates", coordinates as u64)
                .figure("throughput", gigabytes / adding, "GB/s")
                .figure("memory bandwidth", gigabytes / copying, "GB/s")
                .ratio("throughput / memory bandwidth", copying / adding),
        );
    }
    Ok(())
}

fn plan() -> anyhow::Result<RoundPlan> {
    let training = TrainingSpec {
        loss: Loss::BinaryCrossEntropy,
        optimizer: LocalOptimizer::Sgd { momentum: 0.0 },
        learning_rate: 0.1,
        weight_decay: 0.0,
        proximal: 0.0,
        local_epochs: 1,
        batch_size: 32,
    };
    let work = TrainWork {
        training,
        normalization: Normalization {
            mean: Vec::new(),
            scale: Vec::new(),
        },
        grid: Grid::for_clip_norm(GridWidth::W32, 10.0, 1),
        clip_norm: 10.0,
        weighting: Weighting::Examples,
        weight_max: 1_000_000,
        privacy: Privacy::Off,
        seed: 0,
    };
    Ok(RoundPlan {
        key: RoundKey {
            job: JobId::new("bench").context("the job's name")?,
            round: RoundNumber(1),
            phase: Phase::Train,
        },
        epoch: Epoch(1),
        model: ObjectRef::to(b""),
        parameters: ObjectRef::to(b""),
        data: DataSpec {
            inputs: FeatureSpec {
                features: Vec::new(),
                clip: 5.0,
            },
            label: Label::Value { column: "y".into() },
            time_column: None,
            split: Split::Tail { test_fraction: 0.2 },
        },
        work: Work::Train(Box::new(work)),
        quorum: 1,
        contributions_max: 1_000,
        deadline_ms: 1_000,
        trace: TraceContext::default(),
    })
}
