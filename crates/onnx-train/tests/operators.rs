//! Every operator and loss: the gradient against another framework's, and against finite differences.
//!
//! The models and what JAX says of them are made by `onnx-grad/vectors/make_vectors.py`, a family of
//! operators in each folder.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use fl_model::{DataSpec, Feature, FeatureSpec, Label, Loss, ModelOptions, Split, TrainingSpec};
use onnx_grad::{ForwardModel, InputKind, Limits, Role};
use onnx_train::{
    Evaluator, Examples, Input, LocalTrainer, Matrix, Model, Predictions, Targets, check_model,
    gradients, initial_parameters,
};
use serde::Deserialize;
use support::{check_all, must, runtime, sgd};

/// A learning rate that is not 1.
const RATE: f32 = 0.25;
/// Difference quotients are taken over twice this.
const STEP: f32 = 1e-2;
/// How far a gradient may be from the golden one, which was computed in float64, for each 1 + |gradient|.
const GOLDEN_TOLERANCE: f32 = 2e-5;
/// How far it may be from the quotient, which has the float32 loss's rounding and the step's curvature.
const DIFFERENCE_TOLERANCE: f32 = 2e-3;

/// A line of `cases.json`.
#[derive(Deserialize)]
struct Golden {
    name: String,
    loss: String,
    rows: usize,
    inputs: Vec<Vec<f32>>,
    targets: Vec<f32>,
    outputs: Vec<f32>,
    expected_loss: Option<f64>,
    #[serde(default)]
    gradients: BTreeMap<String, Vec<f32>>,
    #[serde(default)]
    statistics: BTreeMap<String, Vec<f32>>,
    /// Whether it stands at a point without a derivative, where differences say nothing.
    #[serde(default)]
    kinks: bool,
    /// What each row counts.
    weights: Option<Vec<f32>>,
    #[serde(default)]
    class_weights: Vec<f32>,
    #[serde(default)]
    options: GoldenOptions,
}

/// How the model is taken.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct GoldenOptions {
    output: Option<String>,
    frozen: Vec<String>,
}

struct Case {
    model: Vec<u8>,
    options: ModelOptions,
    loss: Loss,
    examples: Examples,
    golden: Golden,
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../onnx-grad/vectors")
}

fn cases(family: &str) -> Vec<Case> {
    let folder = vectors().join(family);
    let json = std::fs::read(folder.join("cases.json")).unwrap();
    let golden: Vec<Golden> = serde_json::from_slice(&json).unwrap();
    golden
        .into_iter()
        .map(|golden| {
            let file = folder.join(format!("{}.onnx", golden.name));
            case(std::fs::read(file).unwrap(), golden)
        })
        .collect()
}

fn case(model: Vec<u8>, golden: Golden) -> Case {
    let loss = match golden.loss.as_str() {
        "softmax_cross_entropy" => Loss::SoftmaxCrossEntropy,
        "binary_cross_entropy" => Loss::BinaryCrossEntropy,
        "mean_squared_error" => Loss::MeanSquaredError,
        "mean_absolute_error" => Loss::MeanAbsoluteError,
        "huber" => Loss::Huber { delta: 0.5 },
        other => panic!("unknown loss {other}"),
    };
    let whole = |numbers: &[f32]| numbers.iter().map(|number| *number as i64).collect();
    let options = ModelOptions {
        output: golden.options.output.clone(),
        frozen: golden.options.frozen.clone(),
        local: Vec::new(),
    };
    let kinds = ForwardModel::parse(&model, &Limits::default())
        .unwrap()
        .inputs();
    let inputs = kinds.iter().zip(&golden.inputs).map(|(own, numbers)| {
        let columns = numbers.len() / golden.rows;
        match own.kind {
            InputKind::F32 => Input::Numbers(Matrix::new(columns, numbers.clone()).unwrap()),
            InputKind::I64 => Input::Indices(Matrix::new(columns, whole(numbers)).unwrap()),
        }
    });
    let targets = match loss {
        Loss::SoftmaxCrossEntropy => Targets::Classes(whole(&golden.targets)),
        _ => Targets::Values(golden.targets.clone()),
    };
    let examples = Examples::of_inputs(inputs.collect(), targets).unwrap();
    Case {
        examples: match &golden.weights {
            Some(weights) => examples.weighted(weights.clone()).unwrap(),
            None => examples,
        },
        model,
        options,
        loss,
        golden,
    }
}

impl Case {
    /// What each example counts; none where all count the same.
    fn weights(&self) -> Option<Vec<f32>> {
        let (own, by_class) = (self.golden.weights.as_ref(), &self.golden.class_weights);
        if own.is_none() && by_class.is_empty() {
            return None;
        }
        let targets = self.golden.targets.iter().enumerate();
        let weight = |(row, target): (usize, &f32)| {
            let of_class = by_class.get(*target as usize).unwrap_or(&1.0);
            of_class * own.map_or(1.0, |own| own[row])
        };
        Some(match self.golden.targets.len() == self.golden.rows {
            true => targets.map(weight).collect(),
            false => own.cloned().unwrap_or_default(),
        })
    }
}

fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * (1.0 + expected.abs()),
            "{what}[{index}]: {got} instead of {expected}"
        );
    }
}

/// The whole case is one batch, and a step of plain descent moves every weight by its gradient times the rate,
/// at rate 1 as at another.
fn check(case: &Case) {
    let source = Model::new(&case.model, &case.options);
    let parameters = initial_parameters(source).unwrap();
    let spec = TrainingSpec {
        class_weights: case.golden.class_weights.clone(),
        ..sgd(case.loss, 1.0)
    };
    let mut trainer = must(LocalTrainer::new(source, &spec));
    let mut step = |from: &[Vec<f32>], rate: f32| {
        must(trainer.set_learning_rate(rate));
        must(trainer.run(from, &case.examples, [0; 32]))
    };
    let stepped = step(&parameters, 1.0);
    assert_eq!(stepped.steps, 1);
    let shorter = step(&parameters, RATE);

    let golden = &case.golden;
    let mut evaluator = Evaluator::new(source, case.loss).unwrap();
    let evaluation = evaluator.run(&parameters, &case.examples).unwrap();
    if let Predictions::Values(outputs) = &evaluation.predictions {
        assert_close(outputs, &golden.outputs, 1e-5, "outputs");
    }
    if let Some(expected) = golden.expected_loss {
        let error = (stepped.loss - expected).abs();
        assert!(
            error < 1e-5 * (1.0 + expected),
            "loss {} instead of {expected}",
            stepped.loss
        );
    }

    let limits = Limits::default();
    let model = ForwardModel::parse_with(&case.model, &limits, &case.options).unwrap();
    let names = model.parameters().iter().map(|own| own.name.as_str());
    let frozen = |name: &&str| case.options.frozen.iter().any(|own| own == name);
    assert!(!names.clone().any(|name| frozen(&name)));
    for (index, own) in model.parameters().iter().enumerate() {
        let (before, after) = (&parameters[index], &stepped.parameters[index]);
        if own.role == Role::Statistic {
            let what = format!("statistic {}", own.name);
            assert_close(
                after,
                &golden.statistics[&own.name],
                GOLDEN_TOLERANCE,
                &what,
            );
            continue;
        }
        let slope = |after: &[f32], rate: f32| -> Vec<f32> {
            let pairs = before.iter().zip(after);
            pairs.map(|(a, b)| (a - b) / rate).collect()
        };
        let gradient = slope(after, 1.0);
        if golden.expected_loss.is_some() {
            let expected = &golden.gradients[&own.name];
            let what = format!("gradient of {}", own.name);
            assert_close(&gradient, expected, GOLDEN_TOLERANCE, &what);
            let shorter = slope(&shorter.parameters[index], RATE);
            let what = format!("gradient of {} at rate {RATE}", own.name);
            assert_close(&shorter, expected, GOLDEN_TOLERANCE, &what);
        }
        if golden.kinks {
            continue;
        }
        let mut loss_at = |element: usize, by: f32| {
            let mut moved = parameters.clone();
            moved[index][element] += by;
            match case.weights() {
                None => step(&moved, 1.0).loss,
                Some(weights) => {
                    let losses = evaluator.run(&moved, &case.examples).unwrap().losses;
                    let pairs = losses.iter().zip(&weights);
                    let sum: f64 = pairs.map(|(loss, weight)| f64::from(loss * weight)).sum();
                    sum / weights.iter().copied().map(f64::from).sum::<f64>()
                }
            }
        };
        let mut quotient = |element: usize| {
            ((loss_at(element, STEP) - loss_at(element, -STEP)) / f64::from(2.0 * STEP)) as f32
        };
        let differences: Vec<f32> = (0..gradient.len()).map(&mut quotient).collect();
        let what = format!("difference quotient of {}", own.name);
        assert_close(&gradient, &differences, DIFFERENCE_TOLERANCE, &what);
    }
}

/// What tract lacks: Einsum with an ellipsis, Celu by another alpha, indices from the end, ConvTranspose with an
/// output shape, Resize by scales with align_corners, Pad that takes away, Range that is not known; recurrent
/// layers of the reverse direction alone, of sequences of several lengths, without a bias where the reset gate
/// comes last, and RNN by Relu; Equal of booleans.
const REFUSED_BY_TRACT: &[&str] = &[
    "einsum_ellipsis",
    "einsum_ellipsis_implicit",
    "celu_wide",
    "equal_masks",
    "embedding_from_end",
    "table_known_indices",
    "gather_nd_table_from_end_13",
    "gather_nd_table_from_end_18",
    "scatter_nd",
    "transpose_output_shape",
    "linear_align_corners",
    "nearest_align_corners",
    "pad_negative",
    "chain_range",
    "lstm_reverse",
    "lstm_lengths",
    "lstm_lengths_reverse",
    "lstm_lengths_both",
    "lstm_cell_lengths",
    "gru_reverse",
    "gru_lengths",
    "gru_lengths_reverse",
    "gru_lengths_both",
    "gru_reset_last_no_bias",
    "gru_reset_last_lengths",
    "rnn_reverse",
    "rnn_lengths",
    "rnn_lengths_reverse",
    "rnn_lengths_both",
    "rnn_relu",
    "rnn_relu_and_tanh",
];

fn check_family(family: &str) {
    runtime();
    let name = |case: &Case| case.golden.name.clone();
    check_all(&cases(family), name, check, REFUSED_BY_TRACT);
}

macro_rules! families {
    ($($name:ident),* $(,)?) => {
        const FAMILIES: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { check_family(stringify!($name)); })*
    };
}

families! {
    convolution,
    dense,
    einsum,
    elementwise,
    indexing,
    normalization,
    options,
    pooling,
    recurrent,
    reductions,
    resampling,
    shapes,
}

#[test]
fn every_family_is_tested_and_every_operator_has_a_vector() {
    let scripts = std::fs::read_dir(vectors().join("families")).unwrap();
    let mut written: Vec<String> = scripts
        .map(|script| script.unwrap().file_name().into_string().unwrap())
        .filter(|script| !script.starts_with('_'))
        .filter_map(|script| Some(script.strip_suffix(".py")?.to_owned()))
        .collect();
    written.sort();
    assert_eq!(written, FAMILIES);
    let models: Vec<Vec<u8>> = FAMILIES
        .iter()
        .flat_map(|family| cases(family).into_iter().map(|case| case.model))
        .collect();
    for operator in onnx_grad::supported_operators() {
        // NodeProto.op_type is field 4, length-delimited.
        let mut field = vec![4 << 3 | 2, operator.len() as u8];
        field.extend(operator.bytes());
        let uses = |model: &Vec<u8>| model.windows(field.len()).any(|window| window == field);
        assert!(models.iter().any(uses), "no vector uses {operator}");
    }
}

#[test]
fn a_model_is_compared_with_the_jobs_label_before_it_trains() {
    let data = |label: Label| DataSpec {
        inputs: FeatureSpec {
            features: ["a", "b", "c"]
                .map(|column| Feature::Numeric {
                    column: column.to_owned(),
                })
                .to_vec(),
            clip: 5.0,
        }
        .into(),
        label,
        split: Split::Tail { test_fraction: 0.5 },
    };
    let column = || "quality".to_owned();
    let classes = |count: usize| Label::Class {
        column: column(),
        classes: (0..count).map(|class| class.to_string()).collect(),
    };
    let value = || Label::Value { column: column() };
    let check = |name: &str, label: Label, fault: Option<[&str; 3]>| {
        let case = cases("dense")
            .into_iter()
            .find(|case| case.golden.name == name);
        let case = case.unwrap();
        let checked = check_model(&case.model, &sgd(case.loss, 0.1), &data(label));
        match (checked, fault) {
            (Ok(()), None) => {}
            (Err(error), Some(parts)) => {
                let said = error.to_string();
                assert!(
                    parts.iter().all(|part| said.contains(part)),
                    "{name}: {said}"
                );
            }
            (checked, _) => panic!("{name}: {checked:?}"),
        }
    };
    check("loss_softmax", classes(4), None);
    let too_many = ["\"quality\"", "takes 3", "gives 4"];
    check("loss_softmax", classes(3), Some(too_many));
    let too_few = ["\"quality\"", "takes 5", "gives 4"];
    check("loss_softmax", classes(5), Some(too_few));
    let two = ["\"quality\"", "takes 1", "gives 2"];
    check("loss_squared", value(), Some(two));
    let above = Label::Above {
        column: column(),
        limit: 1.0,
    };
    check("loss_binary", above, None);
}

/// What is kept is stretched so that a number is on average what it was: the outputs are far below their
/// targets, so that the gradient of a shift before Dropout is the mean of its mask, but for the factors.
#[test]
fn dropout_keeps_the_mean() {
    const ROWS: usize = 4000;
    runtime();
    let case = cases("normalization")
        .into_iter()
        .find(|case| case.golden.name == "dropout");
    let model = case.unwrap().model;
    let parameters = initial_parameters(&model).unwrap();
    let columns = parameters[0].len();
    let numbers = |number: f32| vec![number; ROWS * columns];
    let inputs = vec![Input::Numbers(Matrix::new(columns, numbers(0.5)).unwrap())];
    let examples = Examples::of_inputs(inputs, Targets::Values(numbers(100.0))).unwrap();
    let made = gradients(
        &model,
        Loss::MeanAbsoluteError,
        &parameters,
        &examples,
        [7; 32],
    )
    .unwrap();
    for (gradient, factor) in made.by_parameter[0].iter().zip(&parameters[1]) {
        let mean = -gradient * columns as f32 / factor;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }
}
