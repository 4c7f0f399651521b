//! Preprocessing: what the graph computes against the same written out.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{Feature, FeatureSpec, Loss, Normalization};
use onnx_train::{
    Evaluator, Examples, ExportedModel, Input, Matrix, Predictions, Targets, encode, export,
    initial_parameters, prepare,
};
use support::{AIR_MLP, runtime};

fn numeric(column: &str) -> Feature {
    Feature::Numeric {
        column: column.to_owned(),
    }
}

fn spec() -> FeatureSpec {
    FeatureSpec {
        features: vec![
            numeric("TEMP"),
            numeric("PRES"),
            Feature::Cyclic {
                source: "hour".to_owned(),
                period: 24.0,
            },
            Feature::Categorical {
                column: "site".to_owned(),
                categories: ["roof", "street", "park"].map(str::to_owned).into(),
            },
            numeric("RAIN"),
        ],
        clip: 5.0,
    }
}

const NAN: f32 = f32::NAN;

/// Equal within rounding, where NaN equals NaN.
fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = (got.is_nan() && expected.is_nan()) || (got - expected).abs() < 1e-6;
        assert!(same, "column {index}: {got} instead of {expected}");
    }
}

#[test]
fn raw_columns_are_encoded_and_missing_ones_stay_missing() {
    runtime();
    let raw = [
        20.0, 1013.0, 6.0, 2.0, 0.5, // quarter of a day, third category
        NAN, 990.0, NAN, NAN, NAN, // a missing category is no category
        -3.0, NAN, 16.0, 7.0, 0.0, // nor is one beyond the list
    ];
    let encoded = encode(&spec(), &raw).unwrap();
    assert_eq!((encoded.rows(), encoded.columns()), (3, 8));
    assert_close(
        encoded.row(0),
        &[20.0, 1013.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.5],
    );
    assert_close(encoded.row(1), &[NAN, 990.0, NAN, NAN, 0.0, 0.0, 0.0, NAN]);
    let third = (16.0f32 / 24.0 * std::f32::consts::TAU).sin_cos();
    assert_close(
        encoded.row(2),
        &[-3.0, NAN, third.0, third.1, 0.0, 0.0, 0.0, 0.0],
    );
}

#[test]
fn prepared_columns_are_imputed_scaled_and_clipped() {
    runtime();
    let normalization = Normalization {
        mean: vec![10.0, 1000.0, 0.1, -0.1, 0.0, 0.0, 0.0, 0.25],
        scale: vec![0.1, 0.05, 2.0, 2.0, 1.0, 1.0, 1.0, 40.0],
    };
    let raw = [20.0, 1013.0, 6.0, 0.0, 0.5, NAN, NAN, NAN, NAN, NAN];
    let prepared = prepare(&spec(), &normalization, &raw).unwrap();
    // (0.5 − 0.25)·40 = 10 is cut to 5.
    assert_close(prepared.row(0), &[1.0, 0.65, 1.8, 0.2, 1.0, 0.0, 0.0, 5.0]);
    assert_close(prepared.row(1), &[0.0; 8]);
}

#[test]
fn many_rows_pass_in_order() {
    runtime();
    let features = FeatureSpec {
        features: vec![numeric("a"), numeric("b")],
        clip: 5.0,
    };
    let raw: Vec<f32> = (0..20_000).map(|number| number as f32).collect();
    assert_eq!(encode(&features, &raw).unwrap().data(), raw);
}

#[test]
fn features_that_cannot_be_encoded_are_named() {
    fn check(features: Vec<Feature>, clip: f32, expected: &str) {
        let spec = FeatureSpec { features, clip };
        let width = spec.encoded_width();
        let normalization = Normalization {
            mean: vec![0.0; width],
            scale: vec![1.0; width],
        };
        let message = onnx_grad::features::prepare_graph(&spec, &normalization)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
    check(vec![], 5.0, "at least one column");
    check(
        vec![Feature::Cyclic {
            source: "hour".to_owned(),
            period: 0.0,
        }],
        5.0,
        "period of `hour` is 0",
    );
    check(
        vec![Feature::Categorical {
            column: "site".to_owned(),
            categories: vec![],
        }],
        5.0,
        "`site` has no categories",
    );
    check(vec![numeric("a")], f32::NAN, "clip is NaN");
    let wrong = Normalization {
        mean: vec![0.0],
        scale: vec![1.0; 8],
    };
    let message = onnx_grad::features::prepare_graph(&spec(), &wrong)
        .unwrap_err()
        .to_string();
    assert!(message.contains("8 columns"), "{message}");
}

/// The prediction of an exported model on raw rows.
fn run_exported(model: &[u8], columns: usize, raw: &[f32]) -> Vec<f32> {
    let mut exported = ExportedModel::new(model).unwrap();
    let raw = Input::Numbers(Matrix::new(columns, raw.to_vec()).unwrap());
    exported.predict(&[raw]).unwrap()
}

/// A metadata property of an exported model, as ONNX Runtime tells it; tract tells none.
fn check_property(model: &[u8], name: &str, expected: &str) {
    if !support::on_tract() {
        let session = onnx_train::session(model).unwrap();
        let found = session.metadata().unwrap().custom(name);
        assert_eq!(found.as_deref(), Some(expected));
    }
}

/// The prediction of the user's model on prepared rows.
fn evaluate(model: &[u8], parameters: &[Vec<f32>], rows: Matrix, outputs: usize) -> Vec<f32> {
    let targets = Targets::Values(vec![0.0; rows.rows() * outputs]);
    let examples = Examples::new(rows, targets).unwrap();
    let evaluation = Evaluator::new(model, Loss::MeanSquaredError)
        .unwrap()
        .run(parameters, &examples)
        .unwrap();
    match evaluation.predictions {
        Predictions::Values(values) => values,
        Predictions::Classes(_) => panic!("classes from a regression"),
    }
}

#[test]
fn the_exported_model_takes_raw_columns_and_agrees_with_evaluation() {
    runtime();
    let mut features: Vec<Feature> = ["SO2", "NO2", "CO", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"]
        .map(numeric)
        .into();
    for (source, period) in [("wind_dir16", 16.0), ("hour", 24.0), ("month", 12.0)] {
        features.push(Feature::Cyclic {
            source: source.to_owned(),
            period,
        });
    }
    let features = FeatureSpec {
        features,
        clip: 5.0,
    };
    let normalization = Normalization {
        mean: vec![3.0; 14],
        scale: vec![0.25; 14],
    };
    let mut raw: Vec<f32> = support::uniform(40 * 11, 1)
        .iter()
        .map(|number| number * 20.0)
        .collect();
    raw[5] = NAN;
    raw[9] = NAN;
    let parameters: Vec<Vec<f32>> = initial_parameters(AIR_MLP)
        .unwrap()
        .iter()
        .map(|own| own.iter().map(|weight| weight * 1.5 + 0.01).collect())
        .collect();

    let expected = evaluate(
        AIR_MLP,
        &parameters,
        prepare(&features, &normalization, &raw).unwrap(),
        1,
    );
    let exported = export(
        AIR_MLP,
        &parameters,
        &features.clone().into(),
        &normalization,
    )
    .unwrap();
    assert_close(&run_exported(&exported, 11, &raw), &expected);
    let names =
        r#"["SO2","NO2","CO","TEMP","PRES","DEWP","RAIN","WSPM","wind_dir16","hour","month"]"#;
    check_property(&exported, "feature_names", names);
    let message = export(AIR_MLP, &parameters, &spec().into(), &normalization)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("encode to 8 columns, the model's input `input` is [N,14]"),
        "{message}"
    );
}

#[test]
fn export_keeps_the_operator_set_from_the_lowest_to_the_highest() {
    runtime();
    let features = FeatureSpec {
        features: vec![
            Feature::Cyclic {
                source: "month".to_owned(),
                period: 12.0,
            },
            Feature::Categorical {
                column: "site \"A\"".to_owned(),
                categories: vec!["über".to_owned()],
            },
        ],
        clip: 3.0,
    };
    let normalization = Normalization {
        mean: vec![0.1, 0.2, 0.0],
        scale: vec![1.5, 1.25, 1.0],
    };
    let raw = [1.0, 0.0, NAN, NAN, 7.5, 3.0];
    // Operator sets 13 and 22.
    for file in ["relu.onnx", "sigmoid.onnx"] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../onnx-grad/vectors/dense");
        let model = std::fs::read(format!("{folder}/{file}")).unwrap();
        let parameters = initial_parameters(&model).unwrap();
        let exported = export(
            &model,
            &parameters,
            &features.clone().into(),
            &normalization,
        )
        .unwrap();
        let outputs = run_exported(&exported, 2, &raw);
        let prepared = prepare(&features, &normalization, &raw).unwrap();
        assert_close(&outputs, &evaluate(&model, &parameters, prepared, 3));
        check_property(&exported, "categories.site \"A\"", r#"["über"]"#);
    }
}
