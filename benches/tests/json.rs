//! The program as `cargo xtask bench` runs it: what it writes for machines. Its figures, taken
//! without the release profile, are nobody's.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn rows_have_parameters_figures_with_units_and_ratios() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows of a run.json");
    let output = Command::new(env!("CARGO_BIN_EXE_tributary-bench"))
        .arg("step")
        .arg("--json")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let batches: Vec<u64> = rows
        .iter()
        .map(|row| row["parameters"]["batch"].as_u64().unwrap())
        .collect();
    assert_eq!(batches, [1, 10, 32]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.lines().count(), rows.len(), "{printed}");
    rows.iter().for_each(check_row);
}

fn check_row(row: &Value) {
    assert_eq!(row["name"], "local step");
    let figures = row["figures"].as_object().unwrap();
    assert_eq!(figures.len(), 2, "{row}");
    for figure in figures.values() {
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(figure["unit"], "µs", "{row}");
    }
    let ratios = row["ratios"].as_object().unwrap();
    assert_eq!(ratios.len(), 1, "{row}");
    assert!(ratios.values().all(|ratio| ratio.as_f64().unwrap() > 0.0));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_tributary-bench"))
        .args(["step", "--json"])
        .arg(Path::new("/nonexistent/rows.json"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("/nonexistent/rows.json"),
        "{said}"
    );
}
