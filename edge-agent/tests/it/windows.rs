//! A job whose examples are windows of rows, checked and trained on alone as a user does it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use fl_runtime::testing::assert_refused;
use serde_json::Value;
use tempfile::TempDir;

use crate::check::{says, shipped};
use crate::common::{command, home};

/// Columns that the networks take, and rows of their windows.
const COLUMNS: usize = 14;
const LENGTH: u32 = 24;

/// A network over windows in a layout.
fn model(layout: &str) -> PathBuf {
    shipped("crates/onnx-train/tests/windows")
        .join(layout)
        .with_extension("onnx")
}

/// A device with a hundred rows, 60 of them to train on; row 23 has no label and row 30 no first column.
struct Device {
    folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let folder = home("mqtt://127.0.0.1:1");
        let names: Vec<String> = (0..COLUMNS).map(|column| format!("c{column}")).collect();
        let mut text = format!("{},y\n", names.join(","));
        for row in 0..100_usize {
            for column in 0..COLUMNS {
                match (row, column) {
                    (30, 0) => text.push(','),
                    _ => write!(text, "{},", (row * (column + 3)) % 17).unwrap(),
                }
            }
            match row {
                23 => text.push('\n'),
                _ => writeln!(text, "{}", row % 5).unwrap(),
            }
        }
        let device = Self { folder };
        std::fs::write(device.home().join("data.csv"), text).unwrap();
        device
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("edge home")
    }

    /// A job file with that window.
    fn job(&self, window: &str) -> PathBuf {
        let names: Vec<String> = (0..COLUMNS)
            .map(|column| format!("\"c{column}\""))
            .collect();
        let text = format!(
            "job = \"windows\"\nmodel = \"windows\"\nrounds = 1\nquorum = 1\ndeadline_s = 20\n\
             [training]\nloss = \"mean_squared_error\"\nlearning_rate = 0.01\nlocal_epochs = 3\n\
             batch_size = 4\n[data]\nfeatures = [{}]\nlabel = {{ column = \"y\" }}\n\
             split = {{ train_rows = [0, 60], test_rows = [60] }}\nwindow = {{ {window} }}\n",
            names.join(", ")
        );
        let file = self.folder.path().join("job.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn run(&self, verb: &str, window: &str, layout: &str, more: &[&Path]) -> Output {
        let mut command = command(verb, &self.home());
        command.arg("--job").arg(self.job(window));
        command.arg("--model").arg(model(layout)).args(more);
        command.output().unwrap()
    }
}

#[test]
fn check_says_how_many_windows_there_are_or_why_there_are_none() {
    let device = Device::new();
    // There is no broker, so that none of them is a success.
    let check = |window: &str, layout: &str, parts: &[&str]| {
        says(&device.run("check", window, layout, &[]), false, parts);
    };
    let good = [
        "ok    data",
        "100 rows; of their windows 6 train, 3 test and 1 have no label",
        "ok    model",
    ];
    check("length = 24, stride = 6", "time_first", &good);
    let channels = "length = 24, stride = 6, layout = \"channels_first\"";
    check(channels, "channels_first", &good);
    let other = [
        "ok    data",
        "FAIL  model",
        "[14, 24]",
        "channels_first",
        "[24, 14]",
    ];
    check(channels, "time_first", &other);
    let long = [
        "FAIL  data",
        "60 training rows",
        "a window is 61 rows",
        "shorten",
    ];
    check("length = 61", "time_first", &long);
    let test = ["FAIL  data", "40 test rows", "a window is 41 rows"];
    check("length = 41", "time_first", &test);
    let none = ["FAIL  job", "data.window", "length is 0"];
    check("length = 0", "time_first", &none);
}

#[test]
fn training_alone_counts_windows() {
    let device = Device::new();
    let result = device.folder.path().join("result.json");
    let more = [Path::new("--json"), &result];
    for layout in ["time_first", "channels_first"] {
        let window = format!("length = {LENGTH}, stride = 6, layout = \"{layout}\"");
        let output = device.run("train-local", &window, layout, &more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let said: Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
        assert_eq!(said["examples_train"], 6, "{said}");
        let judged = &said["runs"][0]["devices"][0];
        assert_eq!(
            (&judged["examples_train"], &judged["examples"]),
            (&6.into(), &3.into())
        );
        assert!(judged["loss"].as_f64().unwrap().is_finite(), "{said}");
    }
    let long = device.run("train-local", "length = 61", "time_first", &[]);
    assert_refused(&long, &["60 training rows", "a window is 61 rows"]);
}
