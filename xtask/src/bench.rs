//! `xtask bench`: the benchmarks in the release profile, and what a round costs beside its training.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{fetch, workspace};

/// Rounds of the demo that is measured; the first ones warm up.
const ROUNDS: u64 = 10;
const WARM_UP: u64 = 2;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArguments {
    /// step, sum or round; all of them without.
    pub what: Vec<String>,
    /// Also write the rows into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the benchmarks that are asked for.
pub fn run(root: &Path, arguments: &BenchArguments) -> Result<()> {
    let known = ["step", "sum", "round"];
    if let Some(what) = arguments
        .what
        .iter()
        .find(|what| !known.contains(&what.as_str()))
    {
        bail!(
            "no benchmark is called {what:?}: there are {}",
            known.join(", ")
        );
    }
    let asked = |what: &str| arguments.what.is_empty() || arguments.what.iter().any(|w| w == what);
    let mut rows = Vec::new();
    let micro: Vec<&str> = ["step", "sum"]
        .into_iter()
        .filter(|what| asked(what))
        .collect();
    if !micro.is_empty() {
        rows.extend(micro_benchmarks(root, &micro)?);
    }
    if asked("round") {
        rows.push(round_overhead(root)?);
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&json!({ "rows": rows }))?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn micro_benchmarks(root: &Path, what: &[&str]) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.json");
    let mut command = workspace::cargo_command(root);
    fetch::tools(root)?.set_on(&mut command);
    let status = command
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "tributary-benches",
            "--",
        ])
        .args(what)
        .arg("--json")
        .arg(&file)
        .status()?;
    if !status.success() {
        bail!("the benchmarks failed: see their messages above");
    }
    let mut report: Value = serde_json::from_slice(&fs::read(&file)?)?;
    match report["rows"].take() {
        Value::Array(rows) => Ok(rows),
        _ => bail!("the benchmarks wrote no rows"),
    }
}

/// Runs the demo and reads from its traces how long rounds took, and how much of that devices trained.
fn round_overhead(root: &Path) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("summary.json");
    let own = std::env::current_exe()?;
    let status = std::process::Command::new(own)
        .current_dir(root)
        .args(["demo", "--rounds", &ROUNDS.to_string(), "--summary"])
        .arg(&file)
        .status()?;
    if !status.success() {
        bail!("the demo failed: see its messages above");
    }
    let summary: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let model = summary["model"]
        .as_str()
        .context("the summary names no model")?;
    let results = Path::new(model)
        .parent()
        .context("the model lies in no folder")?;
    let traces: Value = serde_json::from_slice(&fs::read(results.join("traces.json"))?)?;
    let rounds = durations(&traces);
    let measured: Vec<&Round> = rounds
        .iter()
        .filter(|(number, round)| **number > WARM_UP && round.train_s > 0.0)
        .map(|(_, round)| round)
        .collect();
    if measured.is_empty() {
        bail!(
            "the traces of the demo in {} hold no finished round",
            results.display()
        );
    }
    let round_s = median(measured.iter().map(|round| round.round_s));
    let train_s = median(measured.iter().map(|round| round.train_s));
    println!(
        "{:<24} rounds {}  round {round_s:.3} s  slowest device's training {train_s:.3} s  round / training ×{:.1}",
        "round overhead",
        measured.len(),
        round_s / train_s
    );
    Ok(json!({
        "name": "round overhead",
        "parameters": { "rounds": measured.len(), "devices": 12, "fogs": 3 },
        "figures": {
            "round": { "value": round_s, "unit": "s" },
            "slowest device's training": { "value": train_s, "unit": "s" },
        },
        "ratios": { "round / training": round_s / train_s },
    }))
}

/// How long a round took, and its slowest device's training.
#[derive(Default)]
struct Round {
    round_s: f64,
    train_s: f64,
}

/// By number of the round.
fn durations(traces: &Value) -> BTreeMap<u64, Round> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rounds: BTreeMap<u64, Round> = BTreeMap::new();
    for resource in items(&traces["resourceSpans"]) {
        for scope in items(&resource["scopeSpans"]) {
            for span in items(&scope["spans"]) {
                let Some((number, seconds)) = measured(&span) else {
                    continue;
                };
                let round = rounds.entry(number).or_default();
                match span["name"].as_str() {
                    Some("train") => round.train_s = round.train_s.max(seconds),
                    Some(name) if name == format!("round {number}") => round.round_s = seconds,
                    _ => {}
                }
            }
        }
    }
    rounds
}

fn measured(span: &Value) -> Option<(u64, f64)> {
    let nanos = |key: &str| span[key].as_str()?.parse::<u64>().ok();
    let seconds = nanos("endTimeUnixNano")?.checked_sub(nanos("startTimeUnixNano")?)? as f64 / 1e9;
    let attributes = span["attributes"].as_array()?;
    let round = attributes
        .iter()
        .find(|attribute| attribute["key"] == "fl.round")?;
    let value = &round["value"]["intValue"];
    let number = value
        .as_str()
        .and_then(|text| text.parse().ok())
        .or_else(|| value.as_u64())?;
    Some((number, seconds))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read_from_traces() {
        let span = |name: &str, end: &str| {
            json!({
                "name": name,
                "startTimeUnixNano": "1000000000",
                "endTimeUnixNano": end,
                "attributes": [{ "key": "fl.round", "value": { "intValue": "3" } }],
            })
        };
        let spans = json!([
            span("round 3", "3000000000"),
            span("train", "1500000000"),
            span("train", "1250000000"),
            span("upload", "2900000000"),
        ]);
        let traces = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
        let rounds = durations(&traces);
        assert_eq!(rounds.len(), 1);
        assert_eq!((rounds[&3].round_s, rounds[&3].train_s), (2.0, 0.5));
    }
}
