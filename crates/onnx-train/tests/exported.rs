//! A finished model, judged from raw columns, agrees with the evaluation of rounds.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{Loss, Normalization};
use onnx_train::{
    Evaluator, Examples, ExportedModel, Input, Matrix, Targets, export, initial_parameters, prepare,
};

fn input(columns: usize, raw: Vec<f32>) -> Input {
    Input::Numbers(Matrix::new(columns, raw).unwrap())
}

#[test]
fn an_exported_model_scores_as_its_parameters_did() {
    support::runtime();
    let columns = 14;
    let features = support::numeric(columns);
    let normalization = Normalization {
        mean: vec![0.1; columns],
        scale: vec![1.5; columns],
    };
    let mut raw = support::uniform(5_000 * columns, 3);
    raw[7] = f32::NAN;
    let targets = raw
        .chunks_exact(columns)
        .map(|row| f32::from(u8::from(row[0] > 0.0)));
    let targets = Targets::Values(targets.collect());
    let parameters = initial_parameters(support::AIR_MLP).unwrap();

    let prepared = prepare(&features, &normalization, &raw).unwrap();
    let examples = Examples::new(prepared, targets.clone()).unwrap();
    let loss = Loss::BinaryCrossEntropy;
    let mut evaluator = Evaluator::new(support::AIR_MLP, loss).unwrap();
    let evaluation = evaluator.run(&parameters, &examples).unwrap();

    let exported = export(
        support::AIR_MLP,
        &parameters,
        &features.into(),
        &normalization,
    )
    .unwrap();
    let mut exported = ExportedModel::new(&exported).unwrap();
    let score = exported
        .score(&[input(columns, raw)], &targets, loss)
        .unwrap();
    assert_eq!(score.examples, 5_000);
    assert_eq!(score.correct, evaluation.correct);
    assert!(
        (score.loss_sum / evaluation.loss_sum - 1.0).abs() < 1e-4,
        "{score:?}"
    );

    let few = input(columns, vec![0.0; columns]);
    assert!(exported.score(&[few], &targets, loss).is_err());
    let narrow = input(3, vec![0.0; 3]);
    assert!(exported.predict(&[narrow]).is_err());
    assert!(ExportedModel::new(b"not a model").is_err());
}
