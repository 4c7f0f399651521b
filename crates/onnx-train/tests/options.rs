//! How a model is taken: which output has the loss, what stays as it is, and what stays on the device.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{Inputs, Loss, ModelOptions, Normalization, TrainingSpec};
use onnx_train::{
    Evaluator, ExportedModel, LocalTrainer, Model, Targets, TrainError, export, export_plain,
    initial_parameters, local_parameters, parameter_layout, partition, personal,
    starting_parameters,
};
use support::{AIR_MLP, numeric, runtime, separable, sgd, uniform};

const SEED: [u8; 32] = [3; 32];
const LOSS: Loss = Loss::BinaryCrossEntropy;
/// Outputs `first` `[N, 1]` and `y` `[N, 2]`, parameters `w`, `b`, `v` and `u`, inputs three wide.
const TWO_OUTPUTS: &[u8] = include_bytes!("../../onnx-grad/vectors/options/output_second.onnx");

fn options(output: Option<&str>, frozen: &[&str], local: &[&str]) -> ModelOptions {
    let list = |patterns: &[&str]| patterns.iter().map(|&own| own.to_owned()).collect();
    ModelOptions {
        output: output.map(str::to_owned),
        frozen: list(frozen),
        local: list(local),
    }
}

fn names(model: Model<'_>) -> Vec<String> {
    let layout = parameter_layout(model).unwrap();
    layout.into_iter().map(|own| own.name).collect()
}

#[test]
fn what_does_not_travel_is_not_in_the_layout() {
    let check = |frozen: &[&str], local: &[&str], shared: &[&str], own: &[&str], numbers| {
        let options = options(None, frozen, local);
        let model = Model::new(AIR_MLP, &options);
        assert_eq!(names(model), shared);
        let kept = local_parameters(model, None).unwrap();
        let kept: Vec<&str> = kept.iter().map(|own| own.name.as_str()).collect();
        assert_eq!(kept, own);
        let all = initial_parameters(model).unwrap();
        assert_eq!(all.len(), shared.len() + own.len());
        let parts = partition(model).unwrap();
        assert_eq!([parts.shared, parts.local, parts.frozen], numbers);
    };
    let all = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
    check(&[], &[], &all, &[], [257, 0, 0]);
    check(&["fc1.*"], &[], &all[2..], &[], [17, 0, 240]);
    check(&[], &["fc2.*"], &all[..2], &all[2..], [240, 17, 0]);
    let rest = ["fc1.weight", "fc2.weight"];
    check(
        &["fc2.bias"],
        &["fc1.b*"],
        &rest,
        &["fc1.bias"],
        [240, 16, 1],
    );
}

#[test]
fn frozen_parameters_stay_and_local_ones_learn() {
    runtime();
    let options = options(None, &["fc1.bias"], &["fc2.*"]);
    let model = Model::new(AIR_MLP, &options);
    let spec = TrainingSpec {
        local_epochs: 5,
        ..sgd(LOSS, 0.1)
    };
    let start = initial_parameters(model).unwrap();
    assert_eq!(start.iter().map(Vec::len).collect::<Vec<_>>(), [224, 16, 1]);
    let examples = separable(300, 1);
    let trained = LocalTrainer::new(model, &spec).unwrap();
    let trained = { trained }.run(&start, &examples, SEED).unwrap();
    for (before, after) in start.iter().zip(&trained.parameters) {
        assert_ne!(before, after);
    }
    // A device's own are part of what is evaluated.
    let mut evaluator = Evaluator::new(model, LOSS).unwrap();
    let own = evaluator.run(&trained.parameters, &examples).unwrap();
    let mut others = trained.parameters.clone();
    others[1..].clone_from_slice(&start[1..]);
    let others = evaluator.run(&others, &examples).unwrap();
    assert!(own.loss() < others.loss());
    // Without them, the model that is exported has those of the file.
    let plain = export_plain(model, &trained.parameters[..1]).unwrap();
    let filled = initial_parameters(&plain).unwrap();
    let file = initial_parameters(AIR_MLP).unwrap();
    assert_eq!(
        filled,
        [&trained.parameters[0], &file[1], &file[2], &file[3]].map(Vec::clone)
    );
    let own_model = export_plain(model, &trained.parameters).unwrap();
    let filled = initial_parameters(&own_model).unwrap();
    assert_eq!(filled[2..], trained.parameters[1..]);
    // A device puts them into what was exported without them.
    let [weight, bias] = [1, 2].map(|at| &trained.parameters[at][..]);
    let names = local_parameters(model, None).unwrap();
    let names: Vec<&str> = names.iter().map(|own| own.name.as_str()).collect();
    let own = [(names[0], weight), (names[1], bias)];
    assert_eq!(personal(&plain, &own).unwrap(), own_model);
    let check = |exported: &[u8], name: &str, values: &[f32], part: &str| {
        let error = personal(exported, &[(name, values)])
            .unwrap_err()
            .to_string();
        assert!(error.contains(name) && error.contains(part), "{error}");
    };
    check(&plain, "head.weight", weight, "none of that name");
    check(&plain, names[0], &weight[1..], "elements");
    check(b"", names[1], bias, "none of that name");
    assert!(personal(b"no model", &own).is_err());
    assert!(export_plain(model, &trained.parameters[..2]).is_err());
}

#[test]
fn the_proximal_term_pulls_only_what_travels() {
    runtime();
    let options = options(None, &[], &["fc2.*"]);
    let model = Model::new(AIR_MLP, &options);
    let start = initial_parameters(model).unwrap();
    let moved = |proximal: f32| {
        let spec = TrainingSpec {
            proximal,
            local_epochs: 20,
            ..sgd(LOSS, 0.01)
        };
        let mut trainer = LocalTrainer::new(model, &spec).unwrap();
        let trained = trainer.run(&start, &separable(200, 4), SEED).unwrap();
        let distance = |range: std::ops::Range<usize>| -> f32 {
            let pairs = trained.parameters[range.clone()].iter().flatten();
            let pairs = pairs.zip(start[range].iter().flatten());
            pairs.map(|(after, before)| (after - before).powi(2)).sum()
        };
        (distance(0..2), distance(2..4))
    };
    let (free, held) = (moved(0.0), moved(50.0));
    assert!(held.0 < free.0 / 20.0, "{free:?} {held:?}");
    assert!(held.1 > free.1 / 4.0, "{free:?} {held:?}");
}

#[test]
fn what_is_drawn_leaves_the_frozen_alone_and_is_the_same_on_every_device() {
    let options = options(None, &["fc1.*"], &["fc2.weight"]);
    let model = Model::new(AIR_MLP, &options);
    let drawn = starting_parameters(model, Some(5)).unwrap();
    assert_eq!(drawn.len(), 2);
    assert_ne!(drawn, initial_parameters(model).unwrap());
    let local = local_parameters(model, Some(5)).unwrap();
    assert_eq!(local[0].value, drawn[1]);
    assert_ne!(local_parameters(model, Some(6)).unwrap(), local);
}

#[test]
fn a_loss_is_taken_of_the_output_that_is_named_and_all_are_exported() {
    runtime();
    let columns = 3;
    let second = options(Some("y"), &[], &[]);
    let of_second = Model::new(TWO_OUTPUTS, &second);
    assert_eq!(names(TWO_OUTPUTS.into()), ["w", "b", "u"]);
    assert_eq!(names(of_second), ["w", "b", "v"]);
    let normalization = Normalization {
        mean: vec![0.0; columns],
        scale: vec![1.0; columns],
    };
    let inputs = Inputs::from(numeric(columns));
    let parameters = initial_parameters(of_second).unwrap();
    let exported = export(of_second, &parameters, &inputs, &normalization).unwrap();
    let raw = onnx_train::Matrix::new(columns, uniform(8 * columns, 1)).unwrap();
    let raw = [onnx_train::Input::Numbers(raw)];
    let outputs = |name: Option<&str>| {
        let mut model = ExportedModel::of_output(&exported, name).unwrap();
        model.predict(&raw).unwrap().len()
    };
    assert_eq!(outputs(None), 8);
    assert_eq!(outputs(Some("first")), 8);
    assert_eq!(outputs(Some("y")), 16);
    let other = ExportedModel::of_output(&exported, Some("z"))
        .err()
        .unwrap();
    assert!(other.to_string().contains("no output `z`"), "{other}");
    let examples = onnx_train::Examples::of_inputs(raw.to_vec(), Targets::Values(uniform(16, 2)));
    let evaluation = Evaluator::new(of_second, Loss::MeanSquaredError).unwrap();
    let evaluation = { evaluation }.run(&parameters, &examples.unwrap()).unwrap();
    assert_eq!(evaluation.examples, 8);
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let check = |options: ModelOptions, expected: &str| {
        let refused: Result<_, TrainError> = parameter_layout(Model::new(AIR_MLP, &options));
        let message = refused.expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(options(None, &["fc3.*"], &[]), "frozen has `fc3.*`");
    check(options(None, &[], &["fc.weight"]), "nearest are `fc");
    check(options(None, &["*"], &[]), "no weight left to train");
    check(
        options(None, &["fc1.*"], &["fc2.*"]),
        "nothing that travels",
    );
    check(
        options(None, &["fc1.*"], &["*.bias"]),
        "both name `fc1.bias`",
    );
    check(options(Some("z"), &[], &[]), "has no output `z`; it has `");
}
