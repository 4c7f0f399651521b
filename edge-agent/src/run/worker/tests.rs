//! The bench with real data, the demo's model and the real runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fl_model::{
    DeviceId, EvaluateWork, FeatureStatistics, JobSpec, Normalization, ObjectRef, Phase, RegionId,
    RoundNumber,
};
use fl_runtime::job_file;
use fl_wire::{Envelope, SigningKey};
use onnx_train::{initial_parameters, parameter_layout};
use tempfile::TempDir;

use super::*;
use crate::feed::Counts;
use crate::ring::{Bounds, Ring};
use crate::run::rows::Source;
use crate::run::sample;

mod folders;
mod local;
mod snapshot;

const MODEL: &[u8] = include_bytes!("../../../../config/models/air-mlp.onnx");
const JOB: &str = include_str!("../../../../config/jobs/virtual-particle-sensor.toml");
const DATA: &[u8] = include_bytes!("../../../../data/beijing-air/city-east/Tiantan.csv.gz");

const ROOM: u64 = 1 << 20;

fn job() -> JobSpec {
    onnx_train::init_runtime(None)
        .expect("run the tests by `cargo xtask test`, or set ORT_DYLIB_PATH");
    job_file::parse(JOB, "the demo's job").unwrap()
}

struct Device {
    folder: TempDir,
    ledger: Arc<Mutex<Ledger>>,
    worker: Worker,
    file: PathBuf,
    job: JobSpec,
}

fn rows_of(home: &Path, file: &Path) -> RoundRows {
    RoundRows::new(Source::File(file.to_owned()), None, home)
}

/// A file that has not been written for a while.
fn rest(file: &Path) {
    let before = SystemTime::now() - Duration::from_secs(3_600);
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_modified(before).unwrap();
}

fn device(outbox_bytes_max: u64) -> Device {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.csv");
    fs::write(&file, DATA).unwrap();
    rest(&file);
    let identity = Identity {
        device: DeviceId::new("Tiantan").unwrap(),
        region: RegionId::new("east").unwrap(),
        key: SigningKey::from_bytes(&[7; 32]),
    };
    let ledger = Ledger::open(folder.path(), outbox_bytes_max).unwrap();
    let ledger = Arc::new(Mutex::new(ledger));
    Device {
        worker: Worker::new(
            Arc::new(identity),
            ledger.clone(),
            rows_of(folder.path(), &file),
        ),
        file,
        folder,
        ledger,
        job: job(),
    }
}

fn parameters() -> Vec<u8> {
    let layout = parameter_layout(MODEL).unwrap();
    let (names, shapes) = layout.into_iter().map(|p| (p.name, p.shape)).unzip();
    let tensors = initial_parameters(MODEL).unwrap();
    let object = ParameterObject {
        names,
        shapes,
        tensors,
    };
    object.encode().unwrap()
}

impl Device {
    fn data_file(&self) -> &Path {
        &self.file
    }

    fn task(&self, round: u32, work: Work, model: &[u8]) -> Task {
        let parameters = parameters();
        let mut plan = sample::plan(model, &parameters);
        plan.data = self.job.data.clone();
        plan.work = work;
        plan.key = RoundKey {
            job: self.job.job.clone(),
            round: RoundNumber(round),
            phase: plan.phase(),
        };
        plan.model = ObjectRef::to(model);
        Task {
            plan: Box::new(plan),
            objects: Objects {
                model: Arc::new(model.to_vec()),
                parameters: Arc::new(parameters),
            },
            cancelled: Arc::default(),
            trace: None,
        }
    }

    /// The agent of this device is started again.
    fn restart(&mut self) {
        let rows = rows_of(self.folder.path(), &self.file);
        self.worker = Worker::new(self.worker.identity.clone(), self.ledger.clone(), rows);
    }

    /// Does the work and returns what was stored.
    fn contribution(&self, round: u32, work: Work) -> Payload {
        let task = self.task(round, work, MODEL);
        match self.worker.perform(&task) {
            Done::Stored(key) => self.stored(&key),
            other => panic!("{other:?}"),
        }
    }

    fn sealed(&self, key: &RoundKey) -> Vec<u8> {
        lock(&self.ledger).sealed(key).unwrap().unwrap()
    }

    fn stored(&self, key: &RoundKey) -> Payload {
        let sealed = self.sealed(key);
        let verified = Envelope::parse(&sealed, sealed.len()).unwrap();
        let public = self.worker.identity.key.verifying_key();
        let contribution: Contribution = verified.verify(&public).unwrap().open().unwrap();
        assert_eq!(contribution.key.round, *key);
        contribution.payload
    }

    fn train_work(&self) -> TrainWork {
        let Payload::Statistics(statistics) = self.contribution(0, Work::Statistics) else {
            panic!("not statistics");
        };
        TrainWork {
            training: self.job.training.clone(),
            normalization: normalization(&self.job, &statistics),
            grid: fl_model::Grid::for_clip_norm(self.job.grid, self.job.clip_norm, 4),
            clip_norm: self.job.clip_norm,
            ..sample::train_work(self.job.weight_max)
        }
    }

    fn failure(&self, task: &Task) -> Failure {
        match self.worker.perform(task) {
            Done::Failed(key, failure) => {
                assert_eq!(key, task.plan.key);
                assert_eq!(lock(&self.ledger).sealed(&key).unwrap(), None);
                failure
            }
            other => panic!("{other:?}"),
        }
    }
}

fn normalization(job: &JobSpec, statistics: &FeatureStatistics) -> Normalization {
    statistics.normalization(&job.data.inputs.one_hot())
}

#[test]
fn each_phase_gives_a_signed_contribution() {
    let device = device(ROOM);
    let work = device.train_work();
    let payload = device.contribution(1, Work::Train(Box::new(work.clone())));
    let Payload::Update { update, metrics } = payload else {
        panic!("not an update");
    };
    assert_eq!(metrics.examples, update.weight());
    assert!(metrics.examples > 1_000 && metrics.loss > 0);
    let evaluate = EvaluateWork {
        loss: work.training.loss,
        normalization: work.normalization,
    };
    let Payload::Evaluation(counters) = device.contribution(1, Work::Evaluate(evaluate)) else {
        panic!("not an evaluation");
    };
    assert_eq!(counters.confusion.iter().sum::<u64>(), counters.examples);
    assert!(counters.examples > 8_000 && counters.loss > 0);
    assert_eq!(lock(&device.ledger).outstanding().len(), 3);
}

#[test]
fn training_again_gives_the_same_bytes() {
    let (one, two) = (device(ROOM), device(ROOM));
    let work = one.train_work();
    assert_eq!(work, two.train_work());
    one.contribution(1, Work::Train(Box::new(work.clone())));
    two.contribution(1, Work::Train(Box::new(work.clone())));
    let key = one.task(1, Work::Train(Box::new(work)), MODEL).plan.key;
    assert_eq!(one.sealed(&key), two.sealed(&key));
}

#[test]
fn training_that_diverges_is_declined() {
    let device = device(ROOM);
    let mut work = device.train_work();
    work.training.learning_rate = 1e30;
    let task = device.task(1, Work::Train(Box::new(work)), MODEL);
    let failure = device.failure(&task);
    assert_eq!(failure.reason, Reason::Diverged);
    assert!(failure.detail.contains("learning rate"), "{failure}");
}

#[test]
fn data_that_cannot_be_used_is_declined_until_it_is_mended() {
    let device = device(ROOM);
    let task = device.task(0, Work::Statistics, MODEL);
    fs::remove_file(device.data_file()).unwrap();
    let missing = device.failure(&task);
    assert_eq!(missing.reason, Reason::DataUnusable);
    assert!(missing.detail.contains("data.csv"), "{missing}");
    fs::write(device.data_file(), "time,PM2.5\n").unwrap();
    let unfit = device.failure(&task);
    assert_eq!(unfit.reason, Reason::DataUnusable);
    assert!(unfit.detail.contains("\"SO2\""), "{unfit}");
    fs::write(device.data_file(), DATA).unwrap();
    device.contribution(0, Work::Statistics);
}

#[test]
fn a_model_that_cannot_be_used_is_declined() {
    let device = device(ROOM);
    let work = device.train_work();
    let check = |model: &[u8], change: fn(&mut Task), part: &str| {
        let mut task = device.task(1, Work::Train(Box::new(work.clone())), model);
        change(&mut task);
        let failure = device.failure(&task);
        assert_eq!(failure.reason, Reason::ModelUnusable, "{failure}");
        assert!(failure.detail.contains(part), "{part:?} in {failure}");
    };
    check(b"not a model", |_| {}, "ONNX");
    check(
        MODEL,
        |task| task.objects.parameters = Arc::new(vec![1, 2, 3]),
        "parameters",
    );
    let narrow = |task: &mut Task| {
        let fl_model::Inputs::Table(table) = &mut task.plan.data.inputs else {
            panic!("the job is on a table");
        };
        table.features.features.pop();
        if let Work::Train(work) = &mut task.plan.work {
            work.normalization.mean.truncate(12);
            work.normalization.scale.truncate(12);
        }
    };
    check(MODEL, narrow, "12 columns");
}

#[test]
fn a_weight_beyond_the_plans_is_declined_before_training() {
    let device = device(ROOM);
    let mut work = device.train_work();
    work.weight_max = 10;
    let task = device.task(1, Work::Train(Box::new(work)), MODEL);
    let failure = device.failure(&task);
    assert_eq!(failure.reason, Reason::OverWeight);
    assert!(failure.detail.contains("weight_max 10"), "{failure}");
}

#[test]
fn a_full_disk_bound_is_declined_and_named() {
    let device = device(100);
    let task = device.task(0, Work::Statistics, MODEL);
    let failure = device.failure(&task);
    assert_eq!(failure.reason, Reason::Quota);
    assert!(failure.detail.contains("outbox"), "{failure}");
}

#[test]
fn a_round_keeps_the_rows_it_began_with() {
    let device = device(ROOM);
    let work = device.train_work();
    let of = |payload: Payload| match payload {
        Payload::Update { metrics, .. } => metrics.examples,
        Payload::Statistics(statistics) => statistics.rows,
        Payload::Evaluation(counters) => counters.examples,
    };
    let evaluate = |work: &TrainWork| {
        Work::Evaluate(EvaluateWork {
            loss: work.training.loss,
            normalization: work.normalization.clone(),
        })
    };
    device.contribution(1, Work::Train(Box::new(work.clone())));
    let mut reader = flate2::read::GzDecoder::new(DATA);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    let fewer: Vec<&str> = text.lines().take(3_000).collect();
    fs::write(device.data_file(), fewer.join("\n")).unwrap();
    assert!(of(device.contribution(1, evaluate(&work))) > 8_000);
    assert!(of(device.contribution(2, evaluate(&work))) < 2_000);
    let noted = lock(&device.ledger)
        .snapshot(&device.job.job, 2)
        .cloned()
        .unwrap();
    assert_eq!(
        noted.sha256,
        fl_model::Digest::of(fewer.join("\n").as_bytes()).to_string()
    );
}

#[test]
fn a_restart_in_a_round_does_not_change_its_rows() {
    let mut device = device(ROOM);
    let statistics = |device: &Device, round| device.task(round, Work::Statistics, MODEL);
    device.contribution(1, Work::Statistics);
    let first = device.sealed(&statistics(&device, 1).plan.key);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(DATA), &mut text).unwrap();
    let fewer: Vec<&str> = text.lines().take(3_000).collect();
    // Rewritten in place, and replaced as a whole.
    fs::write(device.data_file(), fewer.join("\n")).unwrap();
    for _ in 0..2 {
        device.restart();
        device.contribution(1, Work::Statistics);
        assert_eq!(device.sealed(&statistics(&device, 1).plan.key), first);
        fs::remove_file(device.data_file()).unwrap();
        fs::write(device.data_file(), fewer.join("\n")).unwrap();
    }
    // Without the rows that were kept, the round is left out.
    fs::remove_dir_all(device.folder.path().join("snapshot")).unwrap();
    device.restart();
    for _ in 0..2 {
        let Done::Failed(_, failure) = device.worker.perform(&statistics(&device, 1)) else {
            panic!("a round goes on with other rows than it began with");
        };
        assert_eq!(failure.reason, Reason::DataUnusable);
        let said = ["data.csv", "changed since round 1", "next round"];
        assert!(
            said.iter().all(|part| failure.detail.contains(part)),
            "{failure}"
        );
    }
    device.contribution(2, Work::Statistics);
    // With the file of the beginning, the round can still be taken part in.
    fs::remove_dir_all(device.folder.path().join("snapshot")).unwrap();
    device.restart();
    device.contribution(2, Work::Statistics);
}

/// Rows that a ring of the station's data is bounded to: each new one pushes an old one out.
const RING: Bounds = Bounds {
    rows_max: 5_000,
    bytes_max: 16 << 20,
};

/// A device whose rows come from a command, which has given so many of the station's.
fn with_ring(lines: usize) -> Device {
    let mut device = device(ROOM);
    device.job.data.split = fl_model::Split::Tail { test_fraction: 0.2 };
    restart_with_ring(&mut device);
    give(&device, 0..lines);
    device
}

fn restart_with_ring(device: &mut Device) {
    let home = device.folder.path();
    let ring = Ring::open(&home.join("ring"), RING).unwrap();
    let source = Source::Ring {
        ring: Arc::new(Mutex::new(ring)),
        rows_max: RING.rows_max,
        counts: Arc::new(Counts::default()),
    };
    let rows = RoundRows::new(source, None, home);
    device.worker = Worker::new(device.worker.identity.clone(), device.ledger.clone(), rows);
}

fn give(device: &Device, lines: std::ops::Range<usize>) {
    let bench = lock(&device.worker.bench);
    let Source::Ring { ring, .. } = &bench.rows.source else {
        panic!("no ring");
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(DATA), &mut text).unwrap();
    let mut ring = lock(ring);
    ring.begin(text.lines().next().unwrap().as_bytes()).unwrap();
    let rows = text.lines().skip(1 + lines.start).take(lines.len());
    ring.append(rows.map(str::as_bytes)).unwrap();
}

#[test]
fn a_restart_in_a_round_does_not_change_the_rows_of_a_ring() {
    let (mut struck, control) = (with_ring(6_000), with_ring(6_000));
    let work = control.train_work();
    assert_eq!(struck.train_work(), work);
    let train = |round| control.task(round, Work::Train(Box::new(work.clone())), MODEL);
    let evaluate = EvaluateWork {
        loss: work.training.loss,
        normalization: work.normalization.clone(),
    };
    control.contribution(1, Work::Train(Box::new(work.clone())));
    let tested = control.contribution(1, Work::Evaluate(evaluate.clone()));
    let key = train(1).plan.key;

    // Killed when the rows were fixed, and again when the contribution was stored; rows come all the time.
    let fixed = {
        let mut bench = lock(&struck.worker.bench);
        struck.worker.data(&mut bench, &train(1).plan)
    };
    fixed.unwrap();
    for killed in 0..2 {
        give(&struck, 6_000 + killed * 900..6_900 + killed * 900);
        restart_with_ring(&mut struck);
        struck.contribution(1, Work::Train(Box::new(work.clone())));
        assert_eq!(struck.sealed(&key), control.sealed(&key));
    }
    assert_eq!(struck.contribution(1, Work::Evaluate(evaluate)), tested);

    struck.contribution(2, Work::Train(Box::new(work.clone())));
    control.contribution(2, Work::Train(Box::new(work.clone())));
    let key = train(2).plan.key;
    assert_ne!(
        struck.sealed(&key),
        control.sealed(&key),
        "new rows are trained on"
    );
    // Only the rows of one round are kept.
    let snapshots = fs::read_dir(struck.folder.path()).unwrap();
    let names = snapshots.map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("snapshot"));
    assert_eq!(names, ["snapshot"]);
    fs::remove_dir_all(struck.folder.path().join("snapshot")).unwrap();
    restart_with_ring(&mut struck);
    let failure = struck.worker.perform(&train(2));
    let Done::Failed(_, failure) = failure else {
        panic!("a round goes on with other rows than it began with");
    };
    assert!(
        failure.detail.contains("ring has changed since round 2"),
        "{failure}"
    );
}

#[test]
fn a_ring_that_is_too_short_is_declined_with_what_it_needs() {
    let device = with_ring(0);
    let task = device.task(0, Work::Statistics, MODEL);
    let failure = device.failure(&task);
    assert_eq!(failure.reason, Reason::DataUnusable);
    assert!(
        failure.told.contains("no rows yet, and needs 3"),
        "{failure}"
    );
    assert!(!device.folder.path().join("snapshot").exists());
    give(&device, 0..2_000);
    let Payload::Statistics(statistics) = device.contribution(0, Work::Statistics) else {
        panic!("not statistics");
    };
    assert!(statistics.rows > 1_000);
}

#[test]
fn what_is_not_wanted_any_more_is_not_stored() {
    let device = device(ROOM);
    let task = device.task(0, Work::Statistics, MODEL);
    task.cancelled.store(true, Ordering::Relaxed);
    assert!(matches!(device.worker.perform(&task), Done::Cancelled(_)));
    assert_eq!(lock(&device.ledger).outstanding(), []);
    assert_eq!(task.plan.key.phase, Phase::Statistics);
    drop(device.folder);
}
