//! Inputs by name: compared with the model, scaled, and exported with their scale in front of the model.

#![allow(clippy::unwrap_used)]

mod support;

use fl_model::{
    DataSpec, FeatureStatistics, Inputs, Label, Loss, Normalization, Split, TensorElements,
    TensorInput, TensorScale, TensorSource, statistics_ranges,
};
use onnx_train::{
    Evaluator, Examples, ExportedModel, Input, Matrix, Targets, check_model, export,
    initial_parameters, scale,
};
use support::{sgd, uniform};

/// Takes `tokens`, then `image`.
const MODEL: &[u8] = include_bytes!("tensors/image_and_words.onnx");

const EXAMPLES: usize = 50;
const IMAGE: [u64; 3] = [3, 4, 5];
const PIXELS: usize = 60;

fn input(name: &str, dims: &[u64], elements: TensorElements) -> TensorInput {
    TensorInput {
        name: name.to_owned(),
        source: TensorSource::Array {
            array: format!("{name}s"),
            dims: dims.to_vec(),
        },
        elements,
    }
}

fn image(scale: TensorScale) -> TensorInput {
    input("image", &IMAGE, TensorElements::Numbers(scale))
}

fn tokens() -> TensorInput {
    input("tokens", &[2], TensorElements::Indices)
}

/// Pixels from 0 to 255, the channels of different brightness, one of them missing.
fn pixels() -> Vec<f32> {
    let channel = |at: usize| (at / 20 % 3) as f32;
    let numbers = uniform(EXAMPLES * PIXELS, 4).into_iter().enumerate();
    let pixel = |(at, number): (usize, f32)| (number + 1.0) * 40.0 * (1.0 + channel(at));
    let mut pixels: Vec<f32> = numbers.map(pixel).collect();
    pixels[70] = f32::NAN;
    pixels
}

#[test]
fn the_exported_model_takes_raw_tensors_by_name() {
    support::runtime();
    let check = |of: TensorScale, tolerance: f64| {
        // Not in the model's order.
        let inputs = vec![image(of), tokens()];
        let columns = statistics_ranges(&inputs).remove(0);
        let raw = pixels();
        let normalization = match inputs[0].channels() {
            None => Normalization {
                mean: vec![],
                scale: vec![],
            },
            Some((axis, count)) => {
                let of = FeatureStatistics::of_tensors(&raw, &IMAGE, axis).unwrap();
                of.normalization(&vec![false; count as usize])
            }
        };
        let scaled = scale(&inputs[0], columns, &normalization, &raw).unwrap();
        assert!(
            scaled.data().iter().all(|number| number.is_finite()),
            "{of:?}"
        );
        let words: Vec<i64> = (0..2 * EXAMPLES as i64).map(|word| word % 10).collect();
        let words = Input::Indices(Matrix::new(2, words).unwrap());
        let targets = Targets::Classes((0..EXAMPLES as i64).map(|class| class % 3).collect());
        let made = vec![words.clone(), Input::Numbers(scaled)];
        let examples = Examples::of_inputs(made, targets.clone()).unwrap();
        let parameters = initial_parameters(MODEL).unwrap();
        let loss = Loss::SoftmaxCrossEntropy;
        let mut evaluator = Evaluator::new(MODEL, loss).unwrap();
        assert_eq!(evaluator.inputs(), ["tokens", "image"]);
        let evaluation = evaluator.run(&parameters, &examples).unwrap();

        let inputs = Inputs::Tensors(inputs);
        let exported = export(MODEL, &parameters, &inputs, &normalization).unwrap();
        let mut exported = ExportedModel::new(&exported).unwrap();
        assert_eq!(exported.inputs(), ["tokens", "image"]);
        let raw = Input::Numbers(Matrix::new(PIXELS, raw).unwrap());
        let score = exported
            .score(&[words.clone(), raw.clone()], &targets, loss)
            .unwrap();
        assert_eq!(score.correct, evaluation.correct, "{of:?}");
        let apart = (score.loss_sum / evaluation.loss_sum - 1.0).abs();
        assert!(apart < tolerance, "{of:?}: {score:?}");
        for wrong in [vec![raw.clone(), words.clone()], vec![words], vec![]] {
            assert!(exported.predict(&wrong).is_err());
        }
    };
    check(TensorScale::PLAIN, 1e-5);
    let fixed = TensorScale::Fixed {
        mean: 30.0,
        deviation: 70.0,
    };
    check(fixed, 1e-5);
    for channels in [None, Some(0), Some(1), Some(2)] {
        check(TensorScale::Statistics { channels }, 1e-5);
    }
}

#[test]
fn each_channel_has_its_own_scale() {
    support::runtime();
    let raw = pixels();
    let own = image(TensorScale::Statistics { channels: Some(0) });
    let of = FeatureStatistics::of_tensors(&raw, &IMAGE, Some(0)).unwrap();
    // Another input's column stands before it.
    let mut normalization = of.normalization(&[false; 3]);
    normalization.mean.insert(0, 1e6);
    normalization.scale.insert(0, 1e6);
    let scaled = scale(&own, 1..4, &normalization, &raw).unwrap();
    let again = FeatureStatistics::of_tensors(scaled.data(), &IMAGE, Some(0)).unwrap();
    let left = again.normalization(&[false; 3]);
    assert!(left.mean.iter().all(|mean| mean.abs() < 1e-3), "{left:?}");
    assert!(
        left.scale.iter().all(|of| (of - 1.0).abs() < 1e-2),
        "{left:?}"
    );
    assert!(
        scale(&own, 2..5, &normalization, &raw).is_err(),
        "no such columns"
    );
    assert!(scale(&own, 1..4, &normalization, &raw[1..]).is_err());
}

#[test]
fn a_model_is_compared_with_the_jobs_inputs_before_it_trains() {
    let plain = || image(TensorScale::PLAIN);
    let check = |inputs: Vec<TensorInput>, faults: &[&str]| {
        let data = DataSpec {
            inputs: Inputs::Tensors(inputs),
            label: Label::Class {
                column: "labels".to_owned(),
                classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            },
            split: Split::Tail { test_fraction: 0.5 },
        };
        let checked = check_model(MODEL, &sgd(Loss::SoftmaxCrossEntropy, 0.1), &data);
        match checked {
            Ok(()) => assert!(faults.is_empty(), "{faults:?}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!faults.is_empty(), "{said}");
                faults
                    .iter()
                    .for_each(|part| assert!(said.contains(part), "{part} in {said}"));
            }
        }
    };
    check(vec![tokens(), plain()], &[]);
    check(vec![plain(), tokens()], &[]);
    let both = "`tokens` [2] of int64 and `image` [3, 4, 5] of float32";
    check(
        vec![plain()],
        &["`image` [3, 4, 5] of float32, the model", both],
    );
    let more = input("mask", &[1], TensorElements::Indices);
    check(
        vec![plain(), tokens(), more],
        &["`mask` [1] of int64", both],
    );
    let flat = input("image", &[60], TensorElements::Numbers(TensorScale::PLAIN));
    check(vec![flat, tokens()], &["`image` [60]", both, "shape"]);
    let real = input("tokens", &[2], TensorElements::Numbers(TensorScale::PLAIN));
    check(vec![plain(), real], &["`tokens` [2] of float32", both]);
    let none = image(TensorScale::Statistics { channels: Some(3) });
    check(vec![none, tokens()], &["channels", "[3, 4, 5]"]);
}
