//! A user's own job, model and data, to the end of a demo, and what can be done with a demo that stays.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fl_model::shell_word;
use fl_telemetry::TraceId;
use fl_telemetry::check::{findings, read_json};
use fl_telemetry::receiver::Receiver;
use flate2::read::GzDecoder;
use onnx_train::Predictions;
use serde_json::Value;
use tributary_tests::{
    Demo, How, PATIENCE, claims, of_trace, paste, processes_of, python_verdicts, root, stations,
};
use xtask::demo::discover;

/// The shipped example: patients of three hospitals, for Switzerland cannot train on one class.
const HOSPITALS: [&str; 3] = ["cleveland", "hungarian", "va-long-beach"];

#[tokio::test(flavor = "multi_thread")]
async fn shipped_example_finishes_tells_a_collector_and_stays_up() {
    let receiver = Receiver::start().await.expect("a loopback port");
    let endpoint = receiver.endpoint();
    let run = move || {
        let mut demo = Demo::start(&[
            "--job",
            "config/jobs/heart-disease.toml",
            "--data",
            "data/heart-disease",
            "--rounds",
            "4",
            "--keep",
            "--otlp",
            &endpoint,
        ]);
        let printed = demo.lines_until(|line| line.starts_with("the federation stays up"));
        assert_table(&printed.concat(), &HOSPITALS);
        assert_hospitals(&demo.summary());
        talk_to(&mut demo);
        demo.interrupt();
        let (status, rest) = demo.rest();
        assert!(status.success(), "{rest}");
        demo.assert_nothing_is_left();
        let traces = fs::read_to_string(demo.results().join("traces.json")).expect("traces");
        (demo.summary(), traces)
    };
    let (summary, traces) = tokio::task::spawn_blocking(run).await.expect("a demo");

    let kept = read_json(&traces).expect("OTLP JSON");
    let rounds = summary["trace_ids"].as_array().expect("ids");
    assert_eq!(rounds.len(), 5, "statistics and four rounds");
    for round in rounds {
        let round = round.as_str().expect("an id");
        let expected = of_trace(&kept, round).len();
        let trace = TraceId::parse(round).expect("an id");
        let sent = receiver
            .wait_for(&trace, PATIENCE, |spans| spans.len() == expected)
            .await;
        assert!(
            expected > 0 && sent.len() == expected,
            "what was kept was sent"
        );
        assert_eq!(findings(&sent), Vec::<String>::new());
    }
    receiver.stop().await;
}

/// Gives the printed advice its due: lists and shows the job, asks a fog, and hands in another job.
fn talk_to(demo: &mut Demo) {
    let advice = demo.lines_until(|line| line.contains("kill -9"));
    let command = |part: &str| {
        // Where a path has a space, the program is in quotes.
        let said = |line: &&String| line.replace('\'', "").contains(part);
        let found = advice.iter().find(said);
        found
            .unwrap_or_else(|| panic!("no {part} in {advice:?}"))
            .trim()
    };
    assert!(processes_of(demo.results()).len() >= 8, "all stay up");
    let listed = paste(command("job list"));
    assert!(
        listed.contains("heart-disease") && listed.contains("finished"),
        "{listed}"
    );
    let shown = paste(command("job show heart-disease"));
    assert!(shown.contains("round   4"), "{shown}");
    let status = paste(command("fog-aggregator status"));
    assert!(status.contains("hungarian"), "{status}");

    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("mine.toml");
    let text = fs::read_to_string(demo.results().join("heart-disease.toml")).expect("the job");
    let text = text.replacen("job = \"heart-disease\"", "job = \"mine\"", 1);
    fs::write(&mine, text.replacen("rounds = 4", "rounds = 1", 1)).expect("a job file");
    let submit = command("job submit").replace("MY.toml", mine.to_str().expect("UTF-8"));
    let submitted = paste(&submit);
    let (_, follow) = submitted
        .split_once("follow it with\n")
        .expect("what to do next");
    let follow = follow.trim();
    let program = tributary_tests::binaries();
    let program = shell_word(program.to_str().expect("UTF-8"));
    let watched = paste(&format!("{program}/{follow}"));
    assert!(watched.contains("job mine is finished"), "{watched}");
}

/// The closing table names every device and every way of training.
fn assert_table(printed: &str, devices: &[&str]) {
    for part in ["alone", "federated", "pooled", "all (mean)", "traces.json"]
        .iter()
        .chain(devices)
    {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
}

/// What the summary says of the hospitals is what Python finds with the exported model.
fn assert_hospitals(summary: &Value) {
    assert_eq!(summary["job"], "heart-disease");
    assert_eq!(summary["rounds"], 4);
    let told = summary["federated"]["per_device"]
        .as_object()
        .expect("devices");
    assert_eq!(told.keys().collect::<Vec<_>>(), HOSPITALS);
    let model = Path::new(summary["model"].as_str().expect("a path"));
    let verdicts = python_verdicts(model, &root().join("data/heart-disease"), &How::hospitals());
    for (device, told) in told {
        verdicts[device].assert_told(device, told);
    }
    // Who cannot train is missing in every round, with the reason.
    let missing = summary["missing"].as_array().expect("a list").iter();
    let rounds = missing.filter(|missing| {
        missing["device"] == "switzerland"
            && missing["reason"]
                .as_str()
                .is_some_and(|why| !why.is_empty())
    });
    assert_eq!(rounds.count(), 5, "{summary:#}");
}

/// Rows of each station that the regression trains on; as many more test it.
const ROWS: usize = 1440;
/// Where the regression's predictions by two runtimes may differ, as a share of the larger.
const TOLERANCE: f64 = 1e-4;

/// A regression on plain CSV files in a folder with spaces, its model beside its job.
#[test]
fn regression_with_adam_on_the_16_bit_grid_finishes() {
    let folder = tempfile::Builder::new()
        .prefix("my own federation ")
        .tempdir()
        .expect("a folder");
    let regression = Regression::write(folder.path(), 6, 1);
    let (demo, printed) = regression.run();
    let summary = demo.summary();
    assert_table(&printed, &["Changping", "Tiantan"]);
    regression.assert_judged_alike(&summary, &How::particles(ROWS as u64));
}

/// Rows from one window to the next in the federation over windows.
const STRIDE: u64 = 2;

/// A network over windows of 24 hours, channels first as convolutions take them.
#[test]
fn regression_over_windows_finishes() {
    let folder = tempfile::tempdir().expect("a folder");
    let regression = Regression::write(folder.path(), 6, 1);
    regression.look_at_windows();
    let (demo, printed) = regression.run();
    assert_table(&printed, &["Changping", "Tiantan"]);
    let how = How::particles(ROWS as u64).in_windows(STRIDE);
    regression.assert_judged_alike(&demo.summary(), &how);
}

/// Labels of hundreds of thousands, as prices are: their errors are summed as exactly as small ones.
#[test]
fn regression_on_large_labels_finishes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (demo, _) = Regression::write(folder.path(), 1, 10_000).run();
    let summary = demo.summary();
    let told = summary["federated"]["per_device"]
        .as_object()
        .expect("devices");
    assert_eq!(told.len(), 4);
    for (device, told) in told {
        let error = told["absolute_error"].as_f64().expect("an error");
        assert!(error > 1e5, "{device} is far off yet: {error}");
    }
}

/// A job file, its model and its data: four stations in two regions, as plain CSV.
struct Regression {
    job: PathBuf,
    model: PathBuf,
    data: PathBuf,
    rounds: u32,
}

impl Regression {
    /// Runs it to its end: the demo, whose results go with it, and what was printed.
    fn run(&self) -> (Demo, String) {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let mut demo = Demo::start(&["--job", &path(&self.job), "--data", &path(&self.data)]);
        let (status, printed) = demo.rest();
        assert!(status.success(), "{printed}");
        let summary = demo.summary();
        assert_eq!(summary["job"], "particles");
        assert_eq!(summary["rounds"], self.rounds);
        assert_eq!(summary["missing"], serde_json::json!([]));
        (demo, printed)
    }

    /// Lets its examples be windows, for a network that takes them.
    fn look_at_windows(&self) {
        let mut text = fs::read_to_string(&self.job).expect("a job file");
        text += &format!(
            "window = {{ length = 24, stride = {STRIDE}, layout = \"channels_first\" }}\n"
        );
        fs::write(&self.job, text).expect("a job file");
        let model = root().join("crates/onnx-train/tests/windows/channels_first.onnx");
        fs::copy(model, &self.model).expect("a model");
    }

    /// Python, the evaluation of rounds and the exported model say the same of every test example, and the
    /// summary tells of it.
    fn assert_judged_alike(&self, summary: &Value, how: &How) {
        let exported = Path::new(summary["model"].as_str().expect("a path"));
        let regions = discover(&self.data).expect("our own data");
        let verdicts = python_verdicts(exported, &self.data, how);
        let claims = claims(&self.job, &self.model, exported, &regions);
        let told = summary["federated"]["per_device"]
            .as_object()
            .expect("devices");
        assert_eq!((told.len(), claims.len()), (4, 4));
        for (device, claim) in &claims {
            let verdict = &verdicts[device];
            let Predictions::Values(predicted) = &claim.evaluation.predictions else {
                panic!("a regression predicts numbers");
            };
            assert_eq!(predicted.len(), verdict.outputs.len(), "{device}");
            for (example, python) in verdict.outputs.iter().enumerate() {
                for ours in [predicted[example], claim.outputs[example]] {
                    let apart = (f64::from(ours) - python).abs();
                    assert!(
                        apart <= TOLERANCE * python.abs().max(1.0),
                        "{device} {example}: {ours} {python}"
                    );
                }
            }
            let said = told[device]["absolute_error"].as_f64().expect("an error");
            let found = verdict.absolute_error();
            assert!(
                (said - found).abs() <= TOLERANCE * found,
                "{device}: {said} {found}"
            );
            assert!(
                told[device].get("accuracy").is_none(),
                "numbers have no accuracy"
            );
            assert_eq!(told[device]["examples"], verdict.truths.len(), "{device}");
            let zero = verdict.truths.iter().sum::<f64>() / verdict.truths.len() as f64;
            assert!(
                found < zero,
                "{device}: no better than saying 0: {found} {zero}"
            );
        }
    }

    /// Writes it with its labels so many times as large.
    fn write(folder: &Path, rounds: u32, times: u32) -> Self {
        let data = folder.join("my data");
        for (region, devices) in [
            ("north", ["Changping", "Huairou"]),
            ("south", ["Tiantan", "Dongsi"]),
        ] {
            fs::create_dir_all(data.join(region)).expect("a folder");
            for device in devices {
                let stations = stations();
                let mut all = stations.iter().flat_map(|region| &region.devices);
                let station = all.find(|station| station.id.as_str() == device);
                let file = fs::File::open(&station.expect("a station").data).expect("shipped data");
                let mut text = String::new();
                GzDecoder::new(file)
                    .read_to_string(&mut text)
                    .expect("gzip");
                let rows = scaled(&text, times);
                fs::write(
                    data.join(region).join(format!("{device}.csv")),
                    rows.join("\n") + "\n",
                )
                .expect("a CSV file");
            }
        }
        let shipped = root().join("config/jobs/virtual-particle-sensor.toml");
        let text = fs::read_to_string(shipped).expect("a shipped job");
        let features = text.split_once("[data]").expect("data").1;
        let features = features.split_once("clip").expect("features").0;
        let job = format!(
            "job = \"particles\"\nmodel = \"my-model\"\nrounds = {rounds}\nquorum = 3\ndeadline_s = 20\nseed = 4\n\
         [training]\nloss = \"huber\"\nhuber_delta = 20\noptimizer = \"adam\"\nlearning_rate = 0.01\n\
         local_epochs = 2\nbatch_size = 32\n[sum]\ngrid_bits = 16\n\
         [data]{features}label = {{ column = \"PM2.5\" }}\n\
         split = {{ train_rows = [0, {ROWS}], test_rows = [{ROWS}] }}\n"
        );
        let (file, model) = (folder.join("my job.toml"), folder.join("my-model.onnx"));
        fs::write(&file, job).expect("a job file");
        fs::copy(root().join("config/models/air-mlp.onnx"), &model).expect("a model");
        Self {
            job: file,
            model,
            data,
            rounds,
        }
    }
}

/// The header and the first rows, the label so many times as large.
fn scaled(text: &str, times: u32) -> Vec<String> {
    let header = text.lines().next().expect("a header");
    let label = header.split(',').position(|name| name == "PM2.5");
    let label = label.expect("the label's column");
    let row = |line: &str| {
        let cells = line.split(',').enumerate().map(|(column, cell)| {
            match (column == label, cell.parse::<f64>()) {
                (true, Ok(number)) => (number * f64::from(times)).to_string(),
                _ => cell.to_owned(),
            }
        });
        cells.collect::<Vec<_>>().join(",")
    };
    text.lines().take(1 + 2 * ROWS).map(row).collect()
}
