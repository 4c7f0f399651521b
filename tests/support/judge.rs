//! The outside judge: ONNX Runtime for Python on the raw CSV files, arrays or images.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use xtask::fetch::PythonRuntime;
use xtask::processes::run_to_end;

use crate::root;

/// How the judge finds truth and test rows in a CSV file.
pub struct How(Value);

impl How {
    /// The stations: rows from `first_row` on, and whether the particles are above a limit.
    pub fn stations(first_row: u64) -> Self {
        Self(json!({
            "label": {"column": "PM2.5", "above": 75},
            "split": {"first_row": first_row},
        }))
    }

    /// The stations' particles as a number.
    pub fn particles(first_row: u64) -> Self {
        Self(json!({
            "label": {"column": "PM2.5"},
            "split": {"first_row": first_row},
        }))
    }

    /// The same over windows whose starts are so many rows apart.
    pub fn in_windows(mut self, stride: u64) -> Self {
        self.0["stride"] = stride.into();
        self
    }

    /// The desks' digits, of each desk the last quarter.
    pub fn digits() -> Self {
        Self(json!({
            "label": {"array": "labels"},
            "split": {"test_fraction": 0.25},
            "inputs": {"image": "images"},
        }))
    }

    /// The same digits as images: of each class the last quarter.
    pub fn digit_images() -> Self {
        let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
        Self(json!({
            "label": {"classes": classes},
            "split": {"test_fraction": 0.25},
            "images": "images",
        }))
    }

    /// The hospitals.
    pub fn hospitals() -> Self {
        Self(json!({
            "label": {"column": "y", "classes": ["0", "1"]},
            "split": {"column": "split", "test": "test"},
        }))
    }
}

/// What Python makes of a device's labelled test examples, in the order of the file.
pub struct Verdict {
    /// What each should give: a class, or a number.
    pub truths: Vec<f64>,
    /// The model's outputs for each: one, or one for each class.
    pub outputs: Vec<f64>,
}

impl Verdict {
    /// The class that each example's outputs tell, and by how much they prefer it.
    pub fn told(&self) -> Vec<(usize, f64)> {
        let width = self.outputs.len() / self.truths.len().max(1);
        let tell = |own: &[f64]| match own {
            [logit] => (usize::from(*logit > 0.0), logit.abs()),
            _ => {
                let mut order: Vec<usize> = (0..own.len()).collect();
                order.sort_by(|a, b| own[*b].total_cmp(&own[*a]));
                (order[0], own[order[0]] - own[order[1]])
            }
        };
        self.outputs.chunks_exact(width.max(1)).map(tell).collect()
    }

    /// Examples whose class is told.
    pub fn correct(&self) -> usize {
        let told = self.told();
        let rows = self.truths.iter().zip(&told);
        rows.filter(|(truth, (told, _))| **truth as usize == *told)
            .count()
    }

    /// Asserts that a summary tells the same of that device: how many rows, and the share that is right.
    pub fn assert_told(&self, device: &str, told: &Value) {
        assert_eq!(told["examples"], self.truths.len(), "{device}");
        let accuracy = self.correct() as f64 / self.truths.len() as f64;
        let said = told["accuracy"].as_f64().expect("a share");
        assert!(
            (accuracy - said).abs() < 1e-9,
            "{device}: {accuracy} {said}"
        );
    }

    /// Mean absolute error.
    pub fn absolute_error(&self) -> f64 {
        let rows = self.truths.iter().zip(&self.outputs);
        rows.map(|(truth, output)| (truth - output).abs())
            .sum::<f64>()
            / self.truths.len() as f64
    }
}

/// Share of all devices' test examples that are told right.
pub fn accuracy(verdicts: &BTreeMap<String, Verdict>) -> f64 {
    let correct: usize = verdicts.values().map(Verdict::correct).sum();
    let examples: usize = verdicts.values().map(|verdict| verdict.truths.len()).sum();
    correct as f64 / examples as f64
}

/// Runs an exported model over every device's raw CSV file, `.npz` or images below `data`.
pub fn python_verdicts(model: &Path, data: &Path, how: &How) -> BTreeMap<String, Verdict> {
    let python = PythonRuntime::find(&root()).expect("Python with onnxruntime");
    let script = root().join("tests/support/judge.py");
    let mut command = python.command();
    command.arg(script).arg(model).arg(data);
    let printed = run_to_end(command.arg(how.0.to_string())).expect("a judgement");
    let verdicts: BTreeMap<String, Value> = serde_json::from_str(&printed).expect("JSON");
    let numbers = |list: &Value| -> Vec<f64> {
        let list = list.as_array().expect("a list").iter();
        list.map(|number| number.as_f64().expect("a number"))
            .collect()
    };
    verdicts
        .into_iter()
        .map(|(device, verdict)| {
            let verdict = Verdict {
                truths: numbers(&verdict["truths"]),
                outputs: numbers(&verdict["outputs"]),
            };
            let whole = verdict.outputs.len().is_multiple_of(verdict.truths.len());
            assert!(whole && !verdict.outputs.is_empty(), "{device}");
            (device, verdict)
        })
        .collect()
}
