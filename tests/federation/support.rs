//! A federation for one test.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fl_telemetry::TraceId;
use fl_telemetry::check::{CollectedSpan, findings, read_json};
use tempfile::TempDir;
use xtask::demo::{
    CLOUD_ROOT, Course, Federation, Job, JobEvent, Programs, Region, Results, RoundReport, Watch,
    discover, merge_traces,
};
use xtask::fetch;
use xtask::processes::Interrupt;
use xtask::workspace;

/// A loaded machine must not fail a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A federation in a folder of its own, its job imported and ready to be submitted.
pub(crate) struct Stage {
    pub(crate) federation: Federation,
    pub(crate) results: Results,
    pub(crate) job: Job,
    // Last, so that the processes end before their folder goes.
    folder: TempDir,
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    workspace::root().expect("a checkout")
}

/// The folder of the built programs.
pub(crate) fn binaries() -> PathBuf {
    let program = workspace::binary_for_test(CLOUD_ROOT).expect("built programs");
    program.parent().expect("a folder").to_path_buf()
}

/// The hospitals: two regions of two devices, small and quick.
pub(crate) fn hospitals() -> Vec<Region> {
    discover(&root().join("data/heart-disease")).expect("shipped data")
}

/// The hospitals' job with other numbers.
pub(crate) fn hospitals_job(rounds: u32, quorum: u32) -> Job {
    let mut job = Job::load(&root().join("config/jobs/heart-disease.toml")).expect("a shipped job");
    job.set_rounds(rounds);
    job.set_quorum(quorum);
    job
}

/// Four stations in two regions.
pub(crate) fn stations() -> Vec<Region> {
    let mut regions = discover(&root().join("data/beijing-air")).expect("shipped data");
    regions.truncate(2);
    for region in &mut regions {
        region.devices.truncate(2);
    }
    regions
}

/// The stations' job with other numbers.
pub(crate) fn stations_job(rounds: u32, quorum: u32) -> Job {
    let file = root().join("config/jobs/virtual-particle-sensor.toml");
    let mut job = Job::load(&file).expect("a shipped job");
    job.set_rounds(rounds);
    job.set_quorum(quorum);
    job
}

impl Stage {
    /// Makes the homes, enrols everybody and imports the job's model. Spans also go to `otlp`.
    pub(crate) fn set(job: Job, regions: Vec<Region>, otlp: Option<&str>) -> Self {
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
    pub(crate) fn home(&self) -> PathBuf {
        self.federation.home(CLOUD_ROOT)
    }

    /// Starts the processes, runs the job to its end, and hands every finished round to `on_round`.
    pub(crate) fn run(
        &mut self,
        mut on_round: impl FnMut(&mut Federation, &RoundReport),
    ) -> Course {
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
                Some(JobEvent::Done(round)) => {
                    quiet_since = Instant::now();
                    on_round(&mut self.federation, &round);
                    let _ = course.add(*round, self.federation.devices());
                }
                Some(JobEvent::Ended { how }) => {
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

    /// The ends of all logs, for a failure's message.
    pub(crate) fn last_words(&self) -> String {
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

    /// Ends all processes in order; none may have to be killed.
    pub(crate) fn end(&mut self) {
        let killed = self.federation.fleet.end_all();
        assert!(killed.is_empty(), "{killed:?} did not end by themselves");
    }

    /// After the end: the spans that the processes kept, merged into one file as the demo does it.
    pub(crate) fn kept_spans(&self) -> Vec<CollectedSpan> {
        let merged = merge_traces(&self.results.homes(), &self.results.traces());
        assert!(merged.expect("a merged file").spans > 0);
        let json = std::fs::read_to_string(self.results.traces()).expect("a merged file");
        read_json(&json).expect("OTLP JSON")
    }
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

/// The spans of one trace.
pub(crate) fn of_trace(spans: &[CollectedSpan], trace: &str) -> Vec<CollectedSpan> {
    let trace = TraceId::parse(trace).expect("a trace id");
    spans
        .iter()
        .filter(|span| span.trace == trace)
        .cloned()
        .collect()
}

/// Every round has one trace, which keeps all rules and spans all three tiers.
pub(crate) fn assert_traces_are_clean(course: &Course, spans: &[CollectedSpan]) {
    for round in course.rounds() {
        let trace = of_trace(spans, &round.trace_id);
        let found = findings(&trace);
        assert!(
            found.is_empty(),
            "round {}: {found:#?}\n{}",
            round.round,
            outline(&trace)
        );
        let mut services: Vec<&str> = trace.iter().map(|span| span.service.as_str()).collect();
        services.sort_unstable();
        services.dedup();
        if round.participants > 0 {
            let all = ["cloud-root", "edge-agent", "fog-aggregator"];
            assert_eq!(services, all, "round {}\n{}", round.round, outline(&trace));
        }
    }
}

/// The spans in the order of their start, for a failure's message.
fn outline(spans: &[CollectedSpan]) -> String {
    let first = spans.iter().map(|span| span.start_us).min().unwrap_or(0);
    let mut spans: Vec<&CollectedSpan> = spans.iter().collect();
    spans.sort_by_key(|span| span.start_us);
    let line = |span: &&CollectedSpan| {
        let from = span.start_us - first;
        let to = span.end_us.saturating_sub(first);
        format!("{from:>9} {to:>9} {:<15} {}", span.service, span.name)
    };
    spans.iter().map(line).collect::<Vec<_>>().join("\n")
}
