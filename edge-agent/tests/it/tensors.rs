//! Jobs over arrays and images, checked, trained on alone and judged as a user does it.

use std::path::{Path, PathBuf};
use std::process::Output;

use fl_runtime::testing::assert_refused;
use image::GrayImage;
use onnx_train::{export_plain, initial_parameters};
use serde_json::Value;
use tempfile::TempDir;

use crate::check::{says, shipped};
use crate::common::{command, home};

fn model() -> PathBuf {
    shipped("config/models/lenet5.onnx")
}

/// A device of its own whose data are these.
fn device(data: &Path) -> TempDir {
    let folder = home("mqtt://127.0.0.1:1");
    let settings = folder.path().join("edge home/edge-agent.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(text.contains("data.csv"));
    let text = text.replacen("data.csv", data.to_str().unwrap(), 1);
    std::fs::write(settings, text).unwrap();
    folder
}

fn desk() -> TempDir {
    device(&shipped("data/digits/east/desk-1.npz"))
}

fn run(device: &TempDir, verb: &str, job: &Path, model: &Path, more: &[&str]) -> Output {
    let mut command = command(verb, &device.path().join("edge home"));
    command.arg("--job").arg(job).arg("--model").arg(model);
    command.args(more).output().unwrap()
}

/// Forty images of 8 x 8 of ten digits, each a row of ink where the digit says.
fn digits(folder: &Path) {
    for digit in 0..10u32 {
        let of_digit = folder.join("images").join(digit.to_string());
        std::fs::create_dir_all(&of_digit).unwrap();
        for number in 0..4 {
            let ink = |x: u32, y: u32| {
                image::Luma([if (y * 8 + x) % 10 == digit {
                    255
                } else {
                    number
                }])
            };
            let image = GrayImage::from_fn(8, 8, ink);
            image.save(of_digit.join(format!("{number}.png"))).unwrap();
        }
    }
}

#[test]
fn check_compares_arrays_with_job_and_model() {
    let desk = desk();
    let job = shipped("config/jobs/digits.toml");
    // There is no broker, so that none of them is a success.
    let good = [
        "ok    data",
        "450 examples, of which 337 train, 113 test",
        "ok    model",
    ];
    says(&run(&desk, "check", &job, &model(), &[]), false, &good);
    let text = std::fs::read_to_string(&job).unwrap();
    let check = |from: &str, to: &str, parts: &[&str]| {
        assert!(text.contains(from), "{from}");
        let file = desk.path().join("job.toml");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        says(&run(&desk, "check", &file, &model(), &[]), false, parts);
    };
    let shape = [
        "FAIL  data",
        "[450, 1, 8, 8]",
        "FAIL  model",
        "`image` [8, 8] of float32",
    ];
    check("[1, 8, 8]", "[8, 8]", &shape);
    let name = [
        "ok    data",
        "FAIL  model",
        "`pixels` [1, 8, 8]",
        "`image` [1, 8, 8]",
    ];
    check("name = \"image\"", "name = \"pixels\"", &name);
    let kind = ["ok    data", "FAIL  model", "of int64", "of float32"];
    check("scale = \"statistics\"", "type = \"int64\"", &kind);
    check(
        "\"images\"",
        "\"pictures\"",
        &["FAIL  data", "\"pictures\"", "images, labels"],
    );
    let columns = shipped("config/jobs/air-cnn.toml");
    says(
        &run(&desk, "check", &columns, &model(), &[]),
        false,
        &["FAIL  data", "FAIL  model"],
    );
}

#[test]
fn training_alone_learns_digits_from_arrays_and_from_images() {
    let folder = tempfile::tempdir().unwrap();
    digits(folder.path());
    let check = |device: &TempDir, job: &str, counts: (u64, u64), least: f64| {
        let result = device.path().join("result.json");
        let more = ["--epochs", "20", "--json", result.to_str().unwrap()];
        let output = run(device, "train-local", &shipped(job), &model(), &more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let said: Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
        let judged = &said["runs"][0]["devices"][0];
        let found = (&judged["examples_train"], &judged["examples_test"]);
        assert_eq!(found, (&counts.0.into(), &counts.1.into()));
        assert!(judged["accuracy"].as_f64().unwrap() >= least, "{said}");
    };
    check(&desk(), "config/jobs/digits.toml", (337, 113), 0.8);
    let images = device(folder.path());
    check(&images, "config/jobs/digits-images.toml", (30, 10), 0.9);
    std::fs::write(folder.path().join("images/3/9.png"), "no image").unwrap();
    let job = shipped("config/jobs/digits-images.toml");
    let broken = run(&images, "train-local", &job, &model(), &[]);
    assert_refused(&broken, &["images/3/9.png", "PNG or JPEG"]);
}

#[test]
fn a_model_of_other_inputs_is_not_judged() {
    let desk = desk();
    let job = shipped("config/jobs/digits.toml");
    let other = std::fs::read(shipped("config/models/air-gru.onnx")).unwrap();
    let plain = export_plain(&other, &initial_parameters(&other).unwrap()).unwrap();
    let file = desk.path().join("other.onnx");
    std::fs::write(&file, plain).unwrap();
    let refused = run(&desk, "evaluate", &job, &file, &[]);
    assert_refused(&refused, &["other.onnx", "\"window\""]);
}
