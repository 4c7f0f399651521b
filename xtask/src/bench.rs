//! `xtask bench`: the benchmarks in the release profile, and what a round costs beside its training.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{fetch, guard, workspace};

/// Rounds of the demo that is measured; the first ones warm up.
const ROUNDS: u64 = 10;
const WARM_UP: u64 = 2;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArguments {
    /// step, sum, round or train; without, all but train, which takes minutes.
    pub what: Vec<String>,
    /// Let pip install PyTorch into a throw-away folder (some gigabytes) and train against it.
    #[arg(long, conflicts_with = "torch")]
    pub with_torch: bool,
    /// Train against the PyTorch that this Python has.
    #[arg(long, value_name = "PYTHON")]
    pub torch: Option<PathBuf>,
    /// Train on tract as well, which runs models where there is no ONNX Runtime.
    #[arg(long)]
    pub tract: bool,
    /// Train this network only; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub network: Vec<String>,
    /// Also write the rows into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the benchmarks that are asked for.
pub fn run(root: &Path, arguments: &BenchArguments) -> Result<()> {
    let known = ["step", "sum", "round", "train"];
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
    let named = |what: &str| arguments.what.iter().any(|own| own == what);
    let asked = |what: &str| named(what) || (arguments.what.is_empty() && what != "train");
    let against = arguments.with_torch || arguments.torch.is_some() || arguments.tract;
    if (against || !arguments.network.is_empty()) && !named("train") {
        bail!("--with-torch, --torch, --tract and --network go with `cargo xtask bench train`");
    }
    let json = arguments.json.as_deref().map(Report::open).transpose()?;
    let mut rows = Vec::new();
    let programs: Vec<&str> = ["step", "sum", "train"]
        .into_iter()
        .filter(|what| asked(what))
        .collect();
    if !programs.is_empty() {
        rows.extend(benchmarks(root, &programs, arguments)?);
    }
    if asked("round") {
        rows.push(round_overhead(root)?);
    }
    json.map_or(Ok(()), |report| report.write(&rows))
}

/// The file that takes the rows; opened before minutes of measuring, which must not be for nothing.
struct Report<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Report<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::create(path).with_context(|| {
            format!("cannot write {}: give --json another file", path.display())
        })?;
        Ok(Self { path, file })
    }

    fn write(mut self, rows: &[Value]) -> Result<()> {
        let text = serde_json::to_vec_pretty(&json!({ "rows": rows }))?;
        self.file
            .write_all(&text)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn benchmarks(root: &Path, what: &[&str], arguments: &BenchArguments) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows.json");
    // Lives until everything is measured.
    let packages = arguments
        .with_torch
        .then(|| install_torch(root))
        .transpose()?;
    let mut command = workspace::guarded_cargo(root);
    if let Some(packages) = &packages {
        command.env("PYTHONPATH", packages.path());
    }
    let torch = packages.as_ref().map(|_| Path::new("python3"));
    fetch::tools(root)?.set_on(&mut command);
    command
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "tributary-benches",
        ])
        .args(arguments.tract.then_some("--features=tract"))
        .arg("--")
        .args(what)
        .arg("--json")
        .arg(&file);
    command.args(arguments.tract.then_some("--tract"));
    for network in &arguments.network {
        command.arg("--network").arg(network);
    }
    if let Some(python) = arguments.torch.as_deref().or(torch) {
        command.arg("--torch").arg(python);
    }
    if !guard::status(&mut command)
        .context("cannot run cargo")?
        .success()
    {
        bail!("the benchmarks failed: see their messages above");
    }
    let mut report: Value = serde_json::from_slice(&fs::read(&file)?)?;
    match report["rows"].take() {
        Value::Array(rows) => Ok(rows),
        _ => bail!("the benchmarks wrote no rows"),
    }
}

/// PyTorch in a folder of its own, which goes with the value. Not in the system's folder for temporary
/// files, which may lie in memory.
fn install_torch(root: &Path) -> Result<tempfile::TempDir> {
    let target = root.join("target");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let folder = tempfile::tempdir_in(&target).context("no folder for PyTorch")?;
    eprintln!("installing PyTorch with pip for this run ...");
    let mut pip = guard::guarded("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--target"])
        .arg(folder.path())
        .args(["torch", "numpy"]);
    let status =
        guard::status(&mut pip).context("cannot run python3: install Python 3 with pip")?;
    if !status.success() {
        bail!(
            "pip cannot install PyTorch: see its message above, or name a Python that has it by --torch"
        );
    }
    Ok(folder)
}

/// Runs the demo and reads from its traces how long rounds took, and how much of that devices trained.
fn round_overhead(root: &Path) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("summary.json");
    let own = std::env::current_exe().context("cannot tell our own executable")?;
    let mut demo = guard::guarded(own);
    demo.current_dir(root)
        .args(["demo", "--rounds", &ROUNDS.to_string(), "--summary"])
        .arg(&file);
    if !guard::status(&mut demo)
        .context("cannot run the demo")?
        .success()
    {
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
    round_row(&traces).with_context(|| {
        format!(
            "the traces of the demo in {} hold no finished round",
            results.display()
        )
    })
}

/// The row of the rounds in `traces`, printed; none where there is no round after those that warm up.
fn round_row(traces: &Value) -> Option<Value> {
    let rounds = durations(traces);
    let measured: Vec<&Round> = rounds
        .iter()
        .filter(|(number, round)| **number > WARM_UP && round.train_s > 0.0)
        .map(|(_, round)| round)
        .collect();
    if measured.is_empty() {
        return None;
    }
    let round_s = median(measured.iter().map(|round| round.round_s));
    let train_s = median(measured.iter().map(|round| round.train_s));
    println!(
        "{:<24} rounds {}  round {round_s:.3} s  slowest device's training {train_s:.3} s  round / training ×{:.1}",
        "round overhead",
        measured.len(),
        round_s / train_s
    );
    Some(json!({
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

    /// Traces of rounds 1 to `last`, each of 2 s with a slowest training of half a second.
    fn traces(last: u64) -> Value {
        let span = |round: u64, name: &str, end: &str| {
            json!({
                "name": name,
                "startTimeUnixNano": "1000000000",
                "endTimeUnixNano": end,
                "attributes": [{ "key": "fl.round", "value": { "intValue": round.to_string() } }],
            })
        };
        let spans: Vec<Value> = (1..=last)
            .flat_map(|round| {
                [
                    span(round, &format!("round {round}"), "3000000000"),
                    span(round, "train", "1500000000"),
                    span(round, "train", "1250000000"),
                    span(round, "upload", "2900000000"),
                ]
            })
            .collect();
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] })
    }

    #[test]
    fn rounds_are_read_from_traces() {
        let rounds = durations(&traces(3));
        assert_eq!(rounds.len(), 3);
        assert_eq!((rounds[&3].round_s, rounds[&3].train_s), (2.0, 0.5));
        assert!(round_row(&traces(WARM_UP)).is_none());
    }

    #[test]
    fn the_round_is_a_row_like_the_others() {
        let row = round_row(&traces(WARM_UP + 4)).unwrap();
        let expected = json!({
            "name": "round overhead",
            "parameters": { "rounds": 4, "devices": 12, "fogs": 3 },
            "figures": {
                "round": { "value": 2.0, "unit": "s" },
                "slowest device's training": { "value": 0.5, "unit": "s" },
            },
            "ratios": { "round / training": 4.0 },
        });
        assert_eq!(row, expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows of a run.json");
        Report::open(&path).unwrap().write(&[row]).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(written, json!({ "rows": [expected] }));
    }

    #[test]
    fn what_cannot_be_measured_or_kept_is_said_before_measuring() {
        let check = |what: &[&str], json: Option<&str>, expected: &[&str]| {
            let arguments = BenchArguments {
                what: what.iter().map(|word| (*word).to_owned()).collect(),
                json: json.map(PathBuf::from),
                with_torch: false,
                torch: None,
                tract: false,
                network: Vec::new(),
            };
            // No folder to build in: it must not come that far.
            let error = run(Path::new("/nonexistent"), &arguments).unwrap_err();
            for part in expected {
                assert!(error.to_string().contains(part), "{error}");
            }
        };
        check(&["stop"], None, &["\"stop\"", "step, sum, round, train"]);
        check(
            &["sum"],
            Some("/nonexistent/rows.json"),
            &["/nonexistent/rows.json", "--json"],
        );
    }
}
