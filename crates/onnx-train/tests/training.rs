//! Training and evaluation from end to end on the demo's model.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{LocalOptimizer, Loss, TrainingSpec};
use onnx_train::{
    Evaluator, Examples, Input, LocalTrainer, Matrix, Predictions, Targets, TrainError,
    initial_parameters, parameter_layout,
};
use support::{AIR_MLP, runtime, separable, sgd, uniform};

const SEED: [u8; 32] = [9; 32];

fn spec() -> TrainingSpec {
    TrainingSpec {
        local_epochs: 20,
        ..sgd(Loss::BinaryCrossEntropy, 0.1)
    }
}

#[test]
fn the_layout_is_that_of_the_model_file() {
    let layout: Vec<(String, Vec<u64>)> = parameter_layout(AIR_MLP)
        .unwrap()
        .into_iter()
        .map(|info| (info.name, info.shape))
        .collect();
    let expected = [
        ("fc1.weight", vec![16, 14]),
        ("fc1.bias", vec![16]),
        ("fc2.weight", vec![1, 16]),
        ("fc2.bias", vec![1]),
    ];
    assert_eq!(
        layout,
        expected.map(|(name, shape)| (name.to_owned(), shape))
    );
    let sizes: Vec<usize> = initial_parameters(AIR_MLP)
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(sizes, [224, 16, 16, 1]);
}

#[test]
fn training_learns_what_evaluation_then_sees() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let mut evaluator = Evaluator::new(AIR_MLP, Loss::BinaryCrossEntropy).unwrap();
    let test = separable(500, 2);
    let before = evaluator.run(&start, &test).unwrap();

    let mut trainer = LocalTrainer::new(AIR_MLP, &spec()).unwrap();
    let trained = trainer.run(&start, &separable(1000, 1), SEED).unwrap();
    // 1000 rows are 31 batches of 32 and one of 8.
    assert_eq!((trained.examples, trained.steps), (1000, 20 * 32));

    let after = evaluator.run(&trained.parameters, &test).unwrap();
    assert!(
        after.loss() < before.loss() / 2.0,
        "{} → {}",
        before.loss(),
        after.loss()
    );
    assert!(after.accuracy().unwrap() > 0.9, "{:?}", after.accuracy());
    assert!((trained.loss - after.loss()).abs() < 0.1);
}

#[test]
fn equal_inputs_give_equal_bits_and_a_trainer_keeps_nothing() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let examples = separable(333, 3);
    let specs = [
        spec(),
        TrainingSpec {
            proximal: 0.1,
            ..spec()
        },
        TrainingSpec {
            optimizer: LocalOptimizer::Sgd {
                momentum: 0.9,
                nesterov: false,
            },
            ..spec()
        },
        TrainingSpec {
            optimizer: LocalOptimizer::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                decoupled: false,
            },
            learning_rate: 0.01,
            ..spec()
        },
    ];
    for spec in specs {
        let mut trainer = LocalTrainer::new(AIR_MLP, &spec).unwrap();
        let first = trainer.run(&start, &examples, SEED).unwrap();
        let other = trainer.run(&start, &examples, [1; 32]).unwrap();
        let again = trainer.run(&start, &examples, SEED).unwrap();
        let fresh = LocalTrainer::new(AIR_MLP, &spec)
            .unwrap()
            .run(&start, &examples, SEED)
            .unwrap();
        assert_eq!(first, again);
        assert_eq!(first, fresh);
        assert_ne!(first.parameters, other.parameters);
    }
}

#[test]
fn the_proximal_term_keeps_parameters_near_the_global_ones() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let examples = separable(333, 3);
    let moved = |proximal: f32| -> f32 {
        let spec = TrainingSpec { proximal, ..spec() };
        let trained = LocalTrainer::new(AIR_MLP, &spec)
            .unwrap()
            .run(&start, &examples, SEED)
            .unwrap();
        let pairs = trained
            .parameters
            .iter()
            .flatten()
            .zip(start.iter().flatten());
        pairs.map(|(after, before)| (after - before).powi(2)).sum()
    };
    let (free, held, tight) = (moved(0.0), moved(0.1), moved(1.0));
    assert!(
        free > 2.0 * held && held > 2.0 * tight,
        "{free} {held} {tight}"
    );
}

#[test]
fn an_evaluation_adds_up() {
    runtime();
    let parameters: Vec<Vec<f32>> = [224, 16, 16, 1]
        .map(|count| uniform(count, count as u8))
        .into();
    // More than one batch of the evaluator.
    let examples = separable(20_000, 5);
    let evaluation = Evaluator::new(AIR_MLP, Loss::BinaryCrossEntropy)
        .unwrap()
        .run(&parameters, &examples)
        .unwrap();
    let Targets::Values(targets) = examples.targets() else {
        unreachable!()
    };
    let Predictions::Classes(predictions) = &evaluation.predictions else {
        panic!("not classes")
    };
    let correct = predictions
        .iter()
        .zip(targets)
        .filter(|(guess, truth)| **guess as f32 == **truth)
        .count();
    assert_eq!(evaluation.correct, correct as u64);
    assert_eq!(evaluation.examples, 20_000);
    assert_eq!(evaluation.confusion.iter().sum::<u64>(), 20_000);
    assert_eq!(
        evaluation.confusion[2] + evaluation.confusion[3],
        targets.iter().sum::<f32>() as u64
    );

    // The forward pass and the loss written out in f64.
    for row in [0usize, 18_724, 19_999] {
        let dot = |weights: &[f32], inputs: &[f64]| -> f64 {
            weights
                .iter()
                .zip(inputs)
                .map(|(weight, input)| f64::from(*weight) * input)
                .sum()
        };
        let Input::Numbers(features) = &examples.inputs()[0] else {
            panic!("indices");
        };
        let input: Vec<f64> = features.row(row).iter().copied().map(f64::from).collect();
        let hidden: Vec<f64> = parameters[0]
            .chunks_exact(14)
            .zip(&parameters[1])
            .map(|(weights, bias)| (dot(weights, &input) + f64::from(*bias)).max(0.0))
            .collect();
        let logit = dot(&parameters[2], &hidden) + f64::from(parameters[3][0]);
        let sign = if targets[row] == 1.0 { -1.0 } else { 1.0 };
        let expected = (sign * logit).exp().ln_1p();
        assert!((f64::from(evaluation.losses[row]) - expected).abs() < 1e-5);
        assert_eq!(predictions[row], u32::from(logit > 0.0));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let examples = separable(8, 1);
    let mut trainer = LocalTrainer::new(AIR_MLP, &spec()).unwrap();
    fn check<T: std::fmt::Debug>(result: Result<T, TrainError>, expected: &str) {
        let message = result.expect_err(expected).to_string();
        assert!(
            message.contains(expected),
            "`{message}` does not contain `{expected}`"
        );
    }
    check(
        trainer.run(&start[..3], &examples, SEED),
        "3 are given, the model has 4",
    );
    let mut short = start.clone();
    short[1].pop();
    check(
        trainer.run(&short, &examples, SEED),
        "`fc1.bias` has 16 elements, 15 are given",
    );
    let mut infinite = start.clone();
    infinite[2][0] = f32::INFINITY;
    check(
        trainer.run(&infinite, &examples, SEED),
        "`fc2.weight` has an element that is not finite",
    );

    let rows = |columns: usize, targets: Targets| {
        Examples::new(Matrix::new(columns, vec![0.5; columns * 2])?, targets)
    };
    check(
        trainer.run(
            &start,
            &rows(13, Targets::Values(vec![0.0; 2])).unwrap(),
            SEED,
        ),
        "the model takes `input` [14] of float32",
    );
    check(
        trainer.run(
            &start,
            &rows(14, Targets::Values(vec![0.5; 2])).unwrap(),
            SEED,
        ),
        "0 and 1",
    );
    check(
        trainer.run(
            &start,
            &rows(14, Targets::Classes(vec![0; 2])).unwrap(),
            SEED,
        ),
        "numbers as targets",
    );
    check(
        rows(14, Targets::Values(vec![0.0; 3])),
        "2 rows have 3 targets",
    );
    check(
        rows(14, Targets::Values(vec![f32::NAN; 2])),
        "target 0 is not a finite number",
    );
    check(
        Examples::new(Matrix::new(14, vec![]).unwrap(), Targets::Values(vec![])),
        "no rows",
    );
    check(
        LocalTrainer::new(&AIR_MLP[..1000], &spec()).map(drop),
        "not an ONNX model",
    );
    let far = TrainingSpec {
        learning_rate: f32::NAN,
        ..spec()
    };
    check(
        LocalTrainer::new(AIR_MLP, &far).map(drop),
        "learning_rate is NaN; it must be positive",
    );
}

#[test]
fn divergence_is_an_error_that_says_when() {
    runtime();
    let start = initial_parameters(AIR_MLP).unwrap();
    let spec = TrainingSpec {
        learning_rate: 1e20,
        ..spec()
    };
    let result = LocalTrainer::new(AIR_MLP, &spec)
        .unwrap()
        .run(&start, &separable(200, 1), SEED);
    assert!(
        matches!(result, Err(TrainError::Diverged { .. })),
        "{result:?}"
    );
}
