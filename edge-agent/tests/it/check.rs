//! `check` as a user runs it: a verdict a line, and an exit code that says whether `run` would work.

use std::path::{Path, PathBuf};
use std::process::Output;

use fl_runtime::broker::Broker;
use fl_runtime::testing::assert_refused;
use tempfile::TempDir;

use crate::common::{broker_settings, command, home, region, start};

/// A file of the repository.
pub(crate) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn heart_job() -> PathBuf {
    shipped("config/jobs/heart-disease.toml")
}

fn heart_model() -> PathBuf {
    shipped("config/models/heart-mlp.onnx")
}

/// A home of a device of the heart job, with a broker that lets it in.
struct Hospital {
    folder: TempDir,
    broker: Option<Broker>,
    _broker_folder: TempDir,
}

impl Hospital {
    async fn open() -> Self {
        let broker_folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(&broker_settings(0), &region(), broker_folder.path())
            .await
            .unwrap();
        let folder = home(&format!("mqtt://{}", broker.address()));
        let data = shipped("data/heart-disease/us/cleveland.csv");
        let hospital = Self {
            folder,
            broker: Some(broker),
            _broker_folder: broker_folder,
        };
        std::fs::copy(data, hospital.home().join("data.csv")).unwrap();
        hospital
    }

    async fn close(&mut self) {
        let broker = self.broker.take().unwrap();
        broker.stop().await;
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("edge home")
    }

    /// `check` with a job and a model.
    async fn check(&self, job: PathBuf, model: PathBuf) -> Output {
        let mut command = command("check", &self.home());
        command.arg("--job").arg(job).arg("--model").arg(model);
        // The broker of this process must go on meanwhile.
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

/// Asserts what `check` says, and whether it is a success.
pub(crate) fn says(output: &Output, good: bool, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.success(), good, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn it_fails_where_run_would() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    let output = command("check", &home).output().unwrap();
    let parts = [
        "ok    settings",
        "ok    key",
        "ok    runtime",
        "FAIL  data",
        "FAIL  broker",
        "mqtt://127.0.0.1:1",
        "ok    clock",
    ];
    says(&output, false, &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_where_run_would_take_part() {
    let mut hospital = Hospital::open().await;
    let parts = [
        "ok    settings",
        "ok    key",
        "ok    home",
        "ok    runtime",
        "heart-disease.toml: heart-disease",
        "ok    data",
        "199",
        "104",
        "ok    model",
        "4 tensors",
        "ok    broker",
        "lets edge-01 in",
        // Not this device's fault, and not in its way: it waits for the fog.
        "note  fog",
        "ok    clock",
    ];
    says(
        &hospital.check(heart_job(), heart_model()).await,
        true,
        &parts,
    );
    hospital.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_suit_the_device_is_told_before_a_round() {
    let mut hospital = Hospital::open().await;
    let air_job = shipped("config/jobs/virtual-particle-sensor.toml");
    let air_model = shipped("config/models/air-mlp.onnx");
    let none = hospital.home().join("none");
    let check = async |job: PathBuf, model: PathBuf, parts: &[&str]| {
        says(&hospital.check(job, model).await, false, parts);
    };
    let other = [
        "ok    data",
        "FAIL  model",
        "air-mlp.onnx",
        "15 columns",
        "[14]",
    ];
    check(heart_job(), air_model.clone(), &other).await;
    let columns = [
        "ok    job",
        "FAIL  data",
        "data.csv",
        "PM2.5",
        "ok    model",
    ];
    check(air_job, air_model, &columns).await;
    let no_model = ["ok    data", "FAIL  model", "cannot read"];
    check(heart_job(), none.with_extension("onnx"), &no_model).await;
    let no_job = ["FAIL  job", "none.toml", "ok    broker"];
    check(none.with_extension("toml"), heart_model(), &no_job).await;

    let text = std::fs::read_to_string(heart_job()).unwrap();
    let misspelt = hospital.home().join("job.toml");
    std::fs::write(&misspelt, text.replace("local_epochs", "local_epoch")).unwrap();
    let key = ["FAIL  job", "job.toml", "local_epoch", "local_epochs"];
    check(misspelt, heart_model(), &key).await;

    let mut alone = command("check", &hospital.home());
    assert_refused(
        &alone.arg("--model").arg(heart_model()).output().unwrap(),
        &["--job"],
    );
    hospital.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_agent_is_not_disturbed_and_its_broker_is_told_of() {
    let mut hospital = Hospital::open().await;
    let mut agent = start(&hospital.home());
    agent.logged(&["connected to the mqtt broker"]).await;
    let connected = [
        "note  home",
        "ok    broker",
        "the running agent is connected",
        "ok    model",
    ];
    let told = hospital.check(heart_job(), heart_model()).await;
    says(&told, true, &connected);
    assert!(!agent.log().contains("is away"), "{}", agent.log());

    hospital.close().await;
    agent.logged(&["is away"]).await;
    let away = ["FAIL  broker", "not connected", "ok    model"];
    let told = hospital.check(heart_job(), heart_model()).await;
    says(&told, false, &away);
    assert!(agent.stop().await.success());
}
