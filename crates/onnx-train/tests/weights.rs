//! Weights of classes and examples: what they come to, and what cannot be one.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{Loss, TrainingSpec};
use onnx_train::{
    Examples, Input, LocalTrainer, Matrix, Targets, TrainError, gradients, initial_parameters,
};
use support::{AIR_MLP, runtime, separable, sgd};

const SEED: [u8; 32] = [5; 32];
const LOSS: Loss = Loss::BinaryCrossEntropy;

fn spec(class_weights: &[f32]) -> TrainingSpec {
    TrainingSpec {
        class_weights: class_weights.to_vec(),
        local_epochs: 3,
        ..sgd(LOSS, 0.1)
    }
}

fn train(spec: &TrainingSpec, examples: &Examples) -> (Vec<Vec<f32>>, f64) {
    let start = initial_parameters(AIR_MLP).unwrap();
    let mut trainer = LocalTrainer::new(AIR_MLP, spec).unwrap();
    let trained = trainer.run(&start, examples, SEED).unwrap();
    (trained.parameters, trained.loss)
}

/// By how much two trainings differ at most.
fn distance(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn classes(examples: &Examples) -> Vec<f32> {
    match examples.targets() {
        Targets::Values(values) => values.clone(),
        Targets::Classes(_) => unreachable!(),
    }
}

#[test]
fn a_class_weight_is_the_weight_of_its_examples() {
    runtime();
    let examples = separable(200, 1);
    let by_row = classes(&examples)
        .into_iter()
        .map(|class| 1.0 + 2.0 * class);
    let weighted = examples.clone().weighted(by_row.collect()).unwrap();
    let (by_class, _) = train(&spec(&[1.0, 3.0]), &examples);
    assert_eq!(by_class, train(&spec(&[]), &weighted).0);
    let (plain, _) = train(&spec(&[]), &examples);
    assert!(distance(&plain, &by_class) > 1e-2);
    // Only what they are to each other counts.
    let (larger, _) = train(&spec(&[1e4, 3e4]), &examples);
    assert!(distance(&by_class, &larger) < 1e-5);
    let even = examples.weighted(vec![7.0; 200]).unwrap();
    assert!(distance(&plain, &train(&spec(&[]), &even).0) < 1e-5);
}

#[test]
fn a_batch_that_weighs_nothing_moves_nothing() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    // Batches of one: those of class 0 move nothing, and nothing becomes NaN.
    let one_by_one = TrainingSpec {
        batch_size: 1,
        local_epochs: 1,
        ..spec(&[0.0, 1.0])
    };
    let examples = separable(40, 2);
    let (trained, loss) = train(&one_by_one, &examples);
    assert!(loss.is_finite());
    assert!(distance(&start, &trained) > 1e-3);
    // With one row that counts, the steps are that row's alone.
    let only = classes(&examples).iter().position(|class| *class == 1.0);
    let one_row = |row: usize| f32::from(u8::from(Some(row) == only));
    let one = examples.clone().weighted((0..40).map(one_row).collect());
    let (trained, loss) = train(&one_by_one, &one.unwrap());
    assert!(loss.is_finite());
    let Input::Numbers(inputs) = &examples.inputs()[0] else {
        unreachable!()
    };
    let row = Matrix::new(14, inputs.row(only.unwrap()).to_vec()).unwrap();
    let alone = Examples::new(row, Targets::Values(vec![1.0])).unwrap();
    let (expected, _) = train(&one_by_one, &alone);
    assert!(distance(&start, &expected) > 1e-4);
    assert!(distance(&trained, &expected) < 1e-7);
}

/// A device whose rows all count nothing has nothing to say, rather than that nothing should change.
#[test]
fn examples_that_all_weigh_nothing_are_refused() {
    runtime();
    let check = |class_weights: &[f32], weights: Vec<f32>, expected: &str| {
        let start = initial_parameters(AIR_MLP).unwrap();
        let mut trainer = LocalTrainer::new(AIR_MLP, &spec(class_weights)).unwrap();
        let result = separable(40, 2).weighted(weights);
        let result = result.and_then(|examples| trainer.run(&start, &examples, SEED));
        let error = result.unwrap_err();
        assert!(matches!(error, TrainError::Weightless(_)), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected), "{message}");
    };
    let of_others = classes(&separable(40, 2));
    let of_others: Vec<f32> = of_others.iter().map(|class| 1.0 - class).collect();
    let by_class = "every row weighs 0 by the weight of its class";
    check(&[0.0, 1.0], of_others, by_class);
    check(&[1.0, 1.0], vec![0.0; 40], "every row weighs 0, so");
    // Each is a number, but not what a mean can be taken with.
    let next_to_0 = "all rows together weigh next to 0";
    check(&[], vec![1e-43; 40], next_to_0);
    check(&[1e-30, 1e-30], vec![1e-12; 40], next_to_0);
    check(&[1e-30, 1e-30], vec![1e-30; 40], by_class);
}

#[test]
fn a_trainer_takes_examples_with_and_without_weights() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let examples = separable(50, 3);
    let weights = (0..50).map(|row| row as f32 / 50.0).collect();
    let weighted = examples.clone().weighted(weights).unwrap();
    let mut trainer = LocalTrainer::new(AIR_MLP, &spec(&[])).unwrap();
    let mut run = |of: &Examples| trainer.run(&start, of, SEED).unwrap();
    let (first, second) = (run(&examples), run(&weighted));
    assert_ne!(first.parameters, second.parameters);
    assert_eq!(first, run(&examples));
    assert_eq!(second, run(&weighted));
    let plain = gradients(AIR_MLP, LOSS, &start, &examples, SEED).unwrap();
    let other = gradients(AIR_MLP, LOSS, &start, &weighted, SEED).unwrap();
    assert_eq!(
        plain.loss, other.loss,
        "reported losses count every row once"
    );
    assert_ne!(plain.by_parameter, other.by_parameter);
}

#[test]
fn what_cannot_be_a_weight_is_refused_and_named() {
    runtime();
    fn check<T: std::fmt::Debug>(result: Result<T, TrainError>, expected: &str) {
        let message = result.expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
    let weigh = |weights: &[f32]| separable(3, 1).weighted(weights.to_vec());
    check(weigh(&[1.0, 2.0]), "3 rows have 2 weights");
    check(weigh(&[1.0, -2.0, 1.0]), "weight of row 1");
    check(weigh(&[1.0, 2.0, f32::NAN]), "weight of row 2");
    check(weigh(&[f32::INFINITY, 2.0, 1.0]), "weight of row 0");
    check(weigh(&[0.0; 3]), "every row weighs 0");
    let trainer = |weights: &[f32]| LocalTrainer::new(AIR_MLP, &spec(weights)).map(drop);
    check(trainer(&[1.0]), "class_weights: 1 are given for 2 classes");
    check(trainer(&[1.0, -1.0]), "class_weights: -1 is none");
    let regression = TrainingSpec {
        loss: Loss::MeanSquaredError,
        ..spec(&[1.0, 2.0])
    };
    let refused = LocalTrainer::new(AIR_MLP, &regression).map(drop);
    check(refused, "class_weights: the loss predicts a number");
}
