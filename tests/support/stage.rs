//! A federation for one test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fl_telemetry::check::{CollectedSpan, read_json};
use fl_view::{JobEvent, RoundView};
use serde_json::Value;
use tempfile::TempDir;
use xtask::demo::{
    CLOUD_ROOT, Course, EDGE_AGENT, Federation, Job, News, Programs, Region, Results, Watch,
    agent_name, discover, fog_name, merge_traces,
};
use xtask::fetch;
use xtask::processes::Interrupt;

use crate::{LOOK_AGAIN, PATIENCE, binaries, root};

/// A federation in a folder of its own, its job imported and ready to be submitted.
pub struct Stage {
    pub federation: Federation,
    pub results: Results,
    pub job: Job,
    // Last, so that the processes end before their folder goes.
    folder: TempDir,
}

/// The hospitals: two regions of two devices, small and quick.
pub fn hospitals() -> Vec<Region> {
    discover(&root().join("data/heart-disease")).expect("shipped data")
}

/// The hospitals' job with other numbers.
pub fn hospitals_job(rounds: u32, quorum: u32) -> Job {
    let mut job = Job::load(&root().join("config/jobs/heart-disease.toml")).expect("a shipped job");
    job.set_rounds(rounds);
    job.set_quorum(quorum);
    job
}

/// The twelve stations in their three regions.
pub fn stations() -> Vec<Region> {
    discover(&root().join("data/beijing-air")).expect("shipped data")
}

/// Four stations in two regions.
pub fn some_stations() -> Vec<Region> {
    let mut regions = stations();
    regions.truncate(2);
    for region in &mut regions {
        region.devices.truncate(2);
    }
    regions
}

/// The stations' job with other numbers.
pub fn stations_job(rounds: u32, quorum: u32) -> Job {
    let file = root().join("config/jobs/virtual-particle-sensor.toml");
    let mut job = Job::load(&file).expect("a shipped job");
    job.set_rounds(rounds);
    job.set_quorum(quorum);
    job
}

impl Stage {
    /// Makes the homes, enrols everybody and imports the job's model. Spans also go to `otlp`.
    pub fn set(job: Job, regions: Vec<Region>, otlp: Option<&str>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("a federation ")
            .tempdir()
            .expect("a folder");
        let results = Results::create(folder.path()).expect("a results folder");
        let tools = fetch::tools(&root()).expect("nats-server and ONNX Runtime");
        let programs =
            Programs::new(&binaries(), &tools, &results.commands()).expect("a record of commands");
        let federation = Federation::prepare(
            programs,
            results.clone(),
            regions,
            otlp,
            Interrupt::default(),
        )
        .expect("homes");
        job.write(&results.job(&job.name)).expect("a job file");
        let stage = Self {
            federation,
            results,
            job,
            folder,
        };
        let model = stage.job.find_model(&root(), None).expect("a model");
        let home = stage.home();
        stage
            .federation
            .run(
                CLOUD_ROOT,
                [
                    &"model",
                    &"import",
                    &model,
                    &"--name",
                    &stage.job.model,
                    &"--home",
                    &home,
                ],
            )
            .expect("the model is imported");
        stage
    }

    /// The root's home.
    pub fn home(&self) -> PathBuf {
        self.federation.home(CLOUD_ROOT)
    }

    /// Starts the processes, runs the job to its end, and hands every finished round to `on_round`.
    pub fn run(&mut self, mut on_round: impl FnMut(&mut Federation, &RoundView)) -> Course {
        self.federation.start().expect("a start");
        let file = self.results.job(&self.job.name);
        let home = self.home();
        self.federation
            .run(CLOUD_ROOT, [&"job", &"submit", &file, &"--home", &home])
            .expect("the job is taken");
        let watch = Watch::start(
            self.federation.programs().path("xtask"),
            self.federation.programs().path(CLOUD_ROOT),
            home,
            &self.job.name,
        );
        let mut course = Course::default();
        let mut quiet_since = Instant::now();
        loop {
            if let Some(failure) = self.federation.fleet.first_failed() {
                panic!("{failure}");
            }
            match watch.next(LOOK_AGAIN).expect("a follower") {
                Some(News::Told(JobEvent::Done(round))) => {
                    quiet_since = Instant::now();
                    on_round(&mut self.federation, &round);
                    let _ = course.add(*round, self.federation.devices());
                }
                Some(News::Told(JobEvent::Ended { how })) => {
                    assert_eq!(how, "finished");
                    return course;
                }
                _ => assert!(
                    quiet_since.elapsed() < PATIENCE,
                    "no round ended for {PATIENCE:?}; {}",
                    self.last_words()
                ),
            }
        }
    }

    /// What the root exports of the job: where it lies.
    pub fn export(&self) -> PathBuf {
        let (job, home) = (&self.job.name, self.home());
        let exported = self.results.model(job);
        let words: [&dyn AsRef<OsStr>; 8] = [
            &"model", &"export", &"--job", job, &"-o", &exported, &"--home", &home,
        ];
        self.federation.run(CLOUD_ROOT, words).expect("a model");
        exported
    }

    /// What a device's `edge-agent evaluate` prints of a model.
    pub fn evaluate(&self, model: &Path, device: &str) -> String {
        let file = self.results.job(&self.job.name);
        let home = self.federation.home(&agent_name(device));
        let words: [&dyn AsRef<OsStr>; 7] = [
            &"evaluate",
            &"--home",
            &home,
            &"--model",
            &model,
            &"--job",
            &file,
        ];
        let printed = self.federation.run(EDGE_AGENT, words);
        printed.expect("an evaluation")
    }

    /// Where a device's `edge-agent personalize` writes its own model, and what it prints of that or why
    /// there is none.
    pub fn personalize(&self, exported: &Path, device: &str) -> (PathBuf, Result<String, String>) {
        let model = exported.with_file_name(format!("{device}.onnx"));
        let home = self.federation.home(&agent_name(device));
        let job = self.results.job(&self.job.name);
        let words: [&dyn AsRef<OsStr>; 10] = [
            &"personalize",
            &"--home",
            &home,
            &"--model",
            &exported,
            &"--job",
            &job,
            &"-o",
            &model,
            &"--evaluate",
        ];
        let printed = self.federation.run(EDGE_AGENT, words);
        (model, printed.map_err(|error| format!("{error:#}")))
    }

    /// The ends of all logs, for a failure's message.
    pub fn last_words(&self) -> String {
        let mut words = String::new();
        for name in self.federation.fleet.names() {
            let log = self.federation.fleet.log_path(name);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            words.push_str(&format!("\n== {name}\n{}", tail.join("\n")));
        }
        words
    }

    /// Waits until every device and fog has deleted what it sent: each does so only when the root has
    /// settled it, so nothing may stay.
    pub fn wait_for_empty_outboxes(&self) {
        let end = Instant::now() + PATIENCE;
        for region in self.federation.regions() {
            let agents = region.devices.iter();
            let agents = agents.map(|device| agent_name(device.id.as_str()));
            for name in agents.chain([fog_name(region)]) {
                let outbox = self.federation.home(&name).join("outbox");
                while let Some(left) = first_in(&outbox) {
                    assert!(Instant::now() < end, "{} stays", left.display());
                    std::thread::sleep(LOOK_AGAIN);
                }
            }
        }
    }

    /// Ends all processes in order; none may have to be killed.
    pub fn end(&mut self) {
        let killed = self.federation.fleet.end_all();
        assert!(killed.is_empty(), "{killed:?} did not end by themselves");
    }

    /// After the end: the spans that the processes kept, merged into one file as the demo does it.
    pub fn kept_spans(&self) -> Vec<CollectedSpan> {
        let merged = merge_traces(&self.results.homes(), &self.results.traces());
        assert!(merged.expect("a merged file").spans > 0);
        read_json(&self.traces_file()).expect("OTLP JSON")
    }

    /// The text of that file.
    pub fn traces_file(&self) -> String {
        std::fs::read_to_string(self.results.traces()).expect("a merged file")
    }
}

/// The round whose rows the agent of that home fixed last; 0 before the first.
pub fn fixed_round(home: &Path) -> u32 {
    let state = std::fs::read(home.join("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&state).unwrap_or_default();
    let round = state["data"]["round"].as_u64().unwrap_or(0);
    round.try_into().expect("a round")
}

fn first_in(outbox: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(outbox).expect("an outbox");
    let entry = entries.next()?;
    Some(entry.expect("a readable outbox").path())
}

/// A failed test's folder is for reading.
impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("logs and homes stay in {}", self.results.folder().display());
        }
    }
}
