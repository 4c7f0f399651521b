//! Windows over rows: checked against the model, trained and judged as if each were an example of its own,
//! and exported with all that lies between raw rows and the model.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{
    DataSpec, Feature, FeatureSpec, Inputs, Label, Loss, Normalization, Split, TableInputs,
    TrainingSpec, Window, WindowLabel, WindowLayout,
};
use onnx_train::{
    Evaluator, Examples, ExportedModel, Input, LocalTrainer, Matrix, Predictions, Targets, Windows,
    check_model, export, initial_parameters, prepare,
};
use support::{sgd, uniform};

const TIME_FIRST: &[u8] = include_bytes!("windows/time_first.onnx");
const CHANNELS_FIRST: &[u8] = include_bytes!("windows/channels_first.onnx");

/// Rows of a window, and encoded columns of the models.
const LENGTH: usize = 24;
/// Raw columns: nine numbers, a category of three values and an hour.
const RAW: usize = 11;

fn window(layout: WindowLayout) -> Window {
    Window {
        length: LENGTH as u32,
        stride: 7,
        layout,
        label: WindowLabel::Last,
    }
}

/// The job's inputs with that window.
fn table(window: Option<Window>) -> Inputs {
    Inputs::Table(TableInputs {
        weight: None,
        features: features(),
        time_column: None,
        window,
    })
}

fn features() -> FeatureSpec {
    let numeric = |index| Feature::Numeric {
        column: format!("c{index}"),
    };
    let mut features: Vec<Feature> = (0..9).map(numeric).collect();
    features.push(Feature::Categorical {
        column: "kind".to_owned(),
        categories: ["a", "b", "c"].map(str::to_owned).to_vec(),
    });
    features.push(Feature::Cyclic {
        source: "hour".to_owned(),
        period: 24.0,
    });
    FeatureSpec {
        features,
        clip: 2.5,
    }
}

/// Raw rows with missing values, row-major.
fn raw(rows: usize) -> Vec<f32> {
    let mut raw = uniform(rows * RAW, 5);
    for (index, row) in raw.chunks_exact_mut(RAW).enumerate() {
        row[9] = (index % 3) as f32;
        row[10] = (index % 24) as f32;
        row[index % RAW] = match index % 5 {
            0 => f32::NAN,
            _ => row[index % RAW],
        };
    }
    raw
}

fn normalization() -> Normalization {
    let one_hot = features().one_hot();
    let of = |hot: f32, other: f32| one_hot.iter().map(move |&is| if is { hot } else { other });
    Normalization {
        mean: of(0.0, 0.2).collect(),
        scale: of(1.0, 3.0).collect(),
    }
}

fn starts(rows: usize) -> Vec<usize> {
    (0..=rows - LENGTH).step_by(7).collect()
}

/// Each window copied out of its rows, one after the other.
fn copied(rows: &Matrix, layout: WindowLayout) -> Matrix {
    let mut copy = Vec::new();
    for start in starts(rows.rows()) {
        let (outer, inner) = match layout {
            WindowLayout::TimeFirst => (LENGTH, rows.columns()),
            WindowLayout::ChannelsFirst => (rows.columns(), LENGTH),
        };
        for place in (0..outer).flat_map(|a| (0..inner).map(move |b| (a, b))) {
            let (time, column) = match layout {
                WindowLayout::TimeFirst => place,
                WindowLayout::ChannelsFirst => (place.1, place.0),
            };
            copy.push(rows.row(start + time)[column]);
        }
    }
    Matrix::new(LENGTH * rows.columns(), copy).unwrap()
}

#[test]
fn windows_train_and_are_judged_as_copies_of_them_would_be() {
    support::runtime();
    for (model, layout) in [
        (TIME_FIRST, WindowLayout::TimeFirst),
        (CHANNELS_FIRST, WindowLayout::ChannelsFirst),
    ] {
        // Enough for several batches of the evaluation, too.
        let rows = prepare(&features(), &normalization(), &raw(8_000)).unwrap();
        let starts = starts(rows.rows());
        let targets = starts.iter().map(|start| rows.row(start + LENGTH - 1)[0]);
        let targets = Targets::Values(targets.collect());
        let copies = Examples::new(copied(&rows, layout), targets.clone()).unwrap();
        let windows = Windows::new(rows, starts, LENGTH, layout).unwrap();
        let windows = Examples::of_inputs(vec![Input::Windows(windows)], targets).unwrap();
        assert_eq!(windows.rows(), copies.rows());

        let spec = TrainingSpec {
            local_epochs: 2,
            ..sgd(Loss::MeanSquaredError, 0.05)
        };
        let start = initial_parameters(model).unwrap();
        let train = |examples| {
            let mut trainer = LocalTrainer::new(model, &spec).unwrap();
            trainer.run(&start, examples, [3; 32]).unwrap()
        };
        let trained = train(&windows);
        assert_eq!(trained, train(&copies), "{layout:?}");
        let judge = |examples| {
            let mut evaluator = Evaluator::new(model, spec.loss).unwrap();
            evaluator.run(&trained.parameters, examples).unwrap()
        };
        assert_eq!(judge(&windows), judge(&copies), "{layout:?}");
    }
}

#[test]
fn an_exported_model_takes_raw_windows_time_first() {
    support::runtime();
    for (model, layout) in [
        (TIME_FIRST, WindowLayout::TimeFirst),
        (CHANNELS_FIRST, WindowLayout::ChannelsFirst),
    ] {
        let raw = raw(300);
        let rows = prepare(&features(), &normalization(), &raw).unwrap();
        let starts = starts(300);
        let targets = Targets::Values(vec![0.25; starts.len()]);
        let windows = Windows::new(rows, starts.clone(), LENGTH, layout).unwrap();
        let examples = Examples::of_inputs(vec![Input::Windows(windows)], targets.clone()).unwrap();
        let parameters = initial_parameters(model).unwrap();
        let loss = Loss::MeanAbsoluteError;
        let mut evaluator = Evaluator::new(model, loss).unwrap();
        let evaluation = evaluator.run(&parameters, &examples).unwrap();
        let Predictions::Values(expected) = &evaluation.predictions else {
            panic!("a regression predicts numbers");
        };

        let window = window(layout);
        let exported = export(model, &parameters, &table(Some(window)), &normalization()).unwrap();
        let mut exported = ExportedModel::new(&exported).unwrap();
        let raw = Matrix::new(RAW, raw).unwrap();
        let raw = Windows::new(raw, starts, LENGTH, WindowLayout::TimeFirst).unwrap();
        let raw = Input::Windows(raw);
        let predicted = exported.predict(std::slice::from_ref(&raw)).unwrap();
        assert_eq!(predicted.len(), expected.len());
        for (ours, theirs) in predicted.iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-5, "{layout:?}: {ours} {theirs}");
        }
        let score = exported.score(&[raw], &targets, loss).unwrap();
        assert_eq!(score.examples, evaluation.examples);
        assert!((score.loss_sum / evaluation.loss_sum - 1.0).abs() < 1e-5);

        let flat = Input::Numbers(Matrix::new(RAW, vec![0.0; RAW]).unwrap());
        assert!(exported.predict(&[flat]).is_err(), "rows are no windows");
        let indices = Input::Indices(Matrix::new(RAW, vec![0; RAW]).unwrap());
        assert!(exported.predict(&[indices]).is_err(), "indices are no rows");
    }
}

#[test]
fn the_exported_model_says_what_its_windows_are() {
    let parameters = initial_parameters(CHANNELS_FIRST).unwrap();
    let export = |layout| {
        export(
            CHANNELS_FIRST,
            &parameters,
            &table(Some(window(layout))),
            &normalization(),
        )
    };
    let exported = export(WindowLayout::ChannelsFirst).unwrap();
    let said = br#"{"layout":"channels_first","length":24}"#;
    let other = br#"{"length":24,"layout":"channels_first"}"#;
    let holds = |text: &[u8]| exported.windows(text.len()).any(|bytes| bytes == text);
    assert!(holds(said) || holds(other), "no metadata on windows");
    let message = export(WindowLayout::TimeFirst).unwrap_err().to_string();
    for part in ["[N,24,14]", "[N,14,24]"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_model_is_compared_with_the_jobs_windows_before_it_trains() {
    let check = |model: &[u8], window: Option<Window>, faults: &[&str]| {
        let data = DataSpec {
            inputs: table(window),
            label: Label::Value {
                column: "dust".to_owned(),
            },
            split: Split::Tail { test_fraction: 0.5 },
        };
        let checked = check_model(model, &sgd(Loss::MeanSquaredError, 0.1), &data);
        match checked {
            Ok(()) => assert!(faults.is_empty(), "{faults:?}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!faults.is_empty(), "{said}");
                for part in faults {
                    assert!(said.contains(part), "{part} in {said}");
                }
            }
        }
    };
    let (time, channels) = (WindowLayout::TimeFirst, WindowLayout::ChannelsFirst);
    check(TIME_FIRST, Some(window(time)), &[]);
    check(CHANNELS_FIRST, Some(window(channels)), &[]);
    let both = ["[14, 24]", "channels_first", "`windows` [24, 14]"];
    check(TIME_FIRST, Some(window(channels)), &both);
    let rows = ["encode to 14 columns", "`windows` [24, 14]"];
    check(TIME_FIRST, None, &rows);
    let shorter = Window {
        length: 12,
        ..window(time)
    };
    check(TIME_FIRST, Some(shorter), &["[12, 14]", "[24, 14]"]);
    let flat = ["[24, 14]", "`input` [14]"];
    check(support::AIR_MLP, Some(window(time)), &flat);
    let majority = Window {
        label: WindowLabel::Majority,
        ..window(time)
    };
    check(TIME_FIRST, Some(majority), &["majority", "\"dust\""]);
    let still = Window {
        stride: 0,
        ..window(time)
    };
    check(TIME_FIRST, Some(still), &["stride is 0"]);
}
