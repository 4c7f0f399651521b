//! How long a local training step takes, through the trainer that devices run.

use fl_model::{Loss, TrainingSpec};
use onnx_train::{Evaluator, Examples, LocalTrainer, Matrix, Targets, initial_parameters};

use crate::report::{Report, Row, median};

/// The demo's model: 14 inputs, 16 hidden units, one logit.
const MODEL: &[u8] = include_bytes!("../../config/models/air-mlp.onnx");
const COLUMNS: usize = 14;

/// Rows of a device's 60 days.
const ROWS: usize = 1440;

const BATCHES: [u32; 3] = [1, 10, 32];

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    onnx_train::init_runtime(None)?;
    let parameters = initial_parameters(MODEL)?;
    let values = (0..ROWS * COLUMNS).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0);
    let features = Matrix::new(COLUMNS, values.collect())?;
    let targets = Targets::Values((0..ROWS).map(|row| (row % 3 == 0) as u8 as f32).collect());
    let examples = Examples::new(features, targets)?;
    let mut evaluator = Evaluator::new(MODEL, Loss::BinaryCrossEntropy)?;
    let forward = median(|| {
        evaluator.run(&parameters, &examples)?;
        Ok(())
    })?;
    let forward_us = forward.as_secs_f64() * 1e6 / ROWS as f64;
    for batch_size in BATCHES {
        let spec = TrainingSpec {
            weight_decay: 1e-4,
            batch_size,
            ..TrainingSpec::plain(Loss::BinaryCrossEntropy, 0.01)
        };
        let mut trainer = LocalTrainer::new(MODEL, &spec)?;
        let epoch = median(|| {
            trainer.run(&parameters, &examples, [7; 32])?;
            Ok(())
        })?;
        let steps = ROWS.div_ceil(batch_size as usize) as f64;
        let step_us = epoch.as_secs_f64() * 1e6 / steps;
        let example_us = epoch.as_secs_f64() * 1e6 / ROWS as f64;
        report.add(
            Row::new("local step")
                .parameter("batch", batch_size.into())
                .figure("step", step_us, "µs")
                .figure("forward per example, batched", forward_us, "µs")
                .ratio(
                    "training per example / forward per example",
                    example_us / forward_us,
                ),
        );
    }
    Ok(())
}
