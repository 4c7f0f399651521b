//! The default demo to its end: its targets, what it leaves, and its model in Python, row by row.

use std::fs;
use std::path::Path;

use fl_telemetry::check::{CollectedSpan, findings, read_json};
use onnx_train::Predictions;
use serde_json::Value;
use tributary_tests::{
    Claim, Collector, Demo, How, Verdict, claims, of_trace, processes_of, python_verdicts, root,
    stations,
};
use xtask::demo::{default_data, default_job};

const ROUNDS: usize = 20;
const SEED: u32 = 2;
const STATIONS: usize = 12;
/// Mean accuracy over the stations in the fourth year.
const FEDERATED_MIN: f64 = 0.86;
/// How much better than every station by itself.
const ABOVE_ALONE_MIN: f64 = 0.05;
/// From here on rows are for testing.
const FIRST_TEST_ROW: u64 = 1440;
/// Where two runtimes' probabilities of a row may differ.
const TOLERANCE: f64 = 1e-4;

#[tokio::test(flavor = "multi_thread")]
async fn default_demo_meets_its_targets_and_python_agrees_on_every_row() {
    let _machine = crate::MACHINE.lock().await;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let demo = tokio::task::spawn_blocking(move || run(&endpoint))
        .await
        .expect("a demo");
    let summary = demo.summary();
    assert_targets(&summary);
    assert_rows(&demo, &summary);

    let file = fs::read_to_string(demo.results().join("traces.json")).expect("traces");
    let kept = read_json(&file).expect("OTLP JSON");
    let traces = summary["trace_ids"].as_array().expect("ids").iter();
    let traces: Vec<String> = traces
        .map(|trace| trace.as_str().expect("an id").to_owned())
        .collect();
    assert_traces(&traces, &kept);
    collector.assert_has(&traces, &kept, &file, |_| false).await;
}

fn run(endpoint: &str) -> Demo {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("my summary.json");
    let seed = SEED.to_string();
    let asked = ["--seed", &seed, "--otlp", endpoint, "--summary"];
    let asked = [&asked[..], &[copy.to_str().expect("UTF-8")]].concat();
    let mut demo = Demo::start(&asked);
    let (status, printed) = demo.rest();
    assert!(status.success(), "{printed}");
    for part in [
        "all (mean)",
        "alone",
        "federated",
        "pooled",
        "traces.json",
        "Wanshouxigong",
    ] {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    assert_eq!(processes_of(demo.results()), Vec::<String>::new());
    assert_eq!(
        fs::read(&copy).expect("--summary"),
        fs::read(demo.results().join("summary.json")).expect("a summary")
    );
    let logs = fs::read_dir(demo.results().join("logs"))
        .expect("logs")
        .flatten();
    let agents = logs.filter(|log| log.file_name().to_string_lossy().starts_with("agent-"));
    assert_eq!(agents.count(), STATIONS);
    demo
}

fn number(summary: &Value, path: &str) -> f64 {
    let figure = summary.pointer(path).and_then(Value::as_f64);
    figure.unwrap_or_else(|| panic!("no {path} in {summary:#}"))
}

/// All fields are there, and the model is as good as it has to be.
fn assert_targets(summary: &Value) {
    assert_eq!(summary["job"], "virtual-particle-sensor");
    assert_eq!(
        (&summary["seed"], &summary["rounds"]),
        (&SEED.into(), &ROUNDS.into())
    );
    let devices = summary["federated"]["per_device"].as_object();
    assert_eq!(devices.map(|devices| devices.len()), Some(STATIONS));
    let traces = summary["trace_ids"].as_array().map(Vec::len);
    assert_eq!(traces, Some(ROUNDS + 1), "statistics and every round");
    for path in [
        "/wall_s",
        "/federated/loss",
        "/federated/worst_device/accuracy",
        "/bytes/edge_up",
        "/bytes/fog_up",
        "/bytes/down",
    ] {
        assert!(number(summary, path) > 0.0, "{path} in {summary:#}");
    }
    let model = Path::new(summary["model"].as_str().expect("a path"));
    let digest = xtask::digest::sha256_of_file(model).expect("a model");
    assert_eq!(summary["model_sha256"].as_str(), Some(digest.as_str()));
    assert_eq!(summary["missing"], serde_json::json!([]));

    let federated = number(summary, "/federated/accuracy");
    let alone = number(summary, "/alone/accuracy_mean");
    assert!(federated >= FEDERATED_MIN, "federated {federated}");
    assert!(
        federated >= alone + ABOVE_ALONE_MIN,
        "federated {federated}, alone {alone}"
    );
    // All rows in one place are the most that a federation can hope for.
    assert!(
        number(summary, "/pooled/accuracy") >= FEDERATED_MIN,
        "{summary:#}"
    );
}

/// ONNX Runtime for Python, from the raw CSV files, says of every test row what our own evaluation says
/// of it, and comes to the summary's accuracies.
fn assert_rows(demo: &Demo, summary: &Value) {
    let exported = Path::new(summary["model"].as_str().expect("a path"));
    let job = demo.results().join("virtual-particle-sensor.toml");
    let untrained = root().join("config/models/air-mlp.onnx");
    assert!(default_job(&root()).is_file());
    let claims = claims(&job, &untrained, exported, &stations());
    let how = How::stations(FIRST_TEST_ROW);
    let verdicts = python_verdicts(exported, &default_data(&root()), &how);
    assert_eq!((claims.len(), verdicts.len()), (STATIONS, STATIONS));
    for (device, verdict) in &verdicts {
        assert_device(device, verdict, &claims[device]);
        verdict.assert_told(device, &summary["federated"]["per_device"][device]);
        let positive = verdict.outputs.iter().filter(|logit| **logit > 0.0).count();
        assert!(
            (1..verdict.outputs.len()).contains(&positive),
            "{device} always gets one answer"
        );
    }
}

fn assert_device(device: &str, verdict: &Verdict, claim: &Claim) {
    let Predictions::Classes(classes) = &claim.evaluation.predictions else {
        panic!("the demo tells classes");
    };
    let rows = verdict.outputs.len();
    assert_eq!(
        (classes.len(), claim.outputs.len()),
        (rows, rows),
        "{device}"
    );
    for (row, &logit) in verdict.outputs.iter().enumerate() {
        let truth = verdict.truths[row] > 0.5;
        let told = format!("{device}, test row {row}: Python's logit is {logit}");
        assert_eq!(classes[row], u32::from(logit > 0.0), "{told}");
        let ours = f64::from(claim.outputs[row]);
        assert_eq!(ours > 0.0, logit > 0.0, "{told}, ours {ours}");
        let apart = (probability(ours) - probability(logit)).abs();
        assert!(apart <= TOLERANCE, "{told}, ours {ours}");
        // The loss of a row is the negative logarithm of what its true class was given.
        let of_truth = f64::from(-claim.evaluation.losses[row]).exp();
        let python = probability(if truth { logit } else { -logit });
        assert!(
            (of_truth - python).abs() <= TOLERANCE,
            "{told}, truth {truth}, ours {of_truth}"
        );
    }
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn assert_traces(traces: &[String], kept: &[CollectedSpan]) {
    for trace in traces {
        let spans = of_trace(kept, trace);
        let devices = spans.iter().filter(|span| span.name.starts_with("device "));
        assert_eq!(devices.count(), STATIONS);
        assert_eq!(findings(&spans), Vec::<String>::new());
    }
}
