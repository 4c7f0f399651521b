//! Networks over images and over stretches of time: each trained by a whole federation as its documented job
//! says, and judged by Python on every prediction.

use std::path::Path;

use onnx_train::Predictions;
use tributary_tests::{
    Claim, How, Stage, Verdict, accuracy, claims, draw_digits, python_verdicts, root, stations,
};
use xtask::demo::{Job, Region, discover};

/// Where outputs by two runtimes may differ, as a share of the larger.
const TOLERANCE: f64 = 1e-3;

#[test]
fn lenet_5_learns_digits_out_of_arrays() {
    let data = root().join("data/digits");
    let regions = discover(&data).expect("shipped data");
    let trained = Trained::by("digits", &data, regions, &How::digits());
    // Ten digits, each as likely as the others.
    assert!(trained.majority < 0.15, "{}", trained.majority);
    assert!(trained.accuracy > 0.85, "{}", trained.accuracy);
}

#[test]
fn lenet_5_learns_digits_out_of_images() {
    let folder = tempfile::tempdir().expect("a folder");
    draw_digits(folder.path());
    let regions = discover(folder.path()).expect("what was drawn");
    let how = How::digit_images();
    let trained = Trained::by("digits-images", folder.path(), regions, &how);
    assert!(trained.majority < 0.15, "{}", trained.majority);
    assert!(trained.accuracy > 0.85, "{}", trained.accuracy);
}

#[test]
fn convolutions_learn_from_windows() {
    learns_from_windows("air-cnn");
}

#[test]
fn a_gated_recurrent_unit_learns_from_windows() {
    learns_from_windows("air-gru");
}

fn learns_from_windows(job: &str) {
    let data = root().join("data/beijing-air");
    let how = How::stations(1440).in_windows(3);
    let trained = Trained::by(job, &data, stations(), &how);
    let (accuracy, majority) = (trained.accuracy, trained.majority);
    assert!(
        accuracy > majority + 0.1 && accuracy > 0.75,
        "{job}: {accuracy}, and {majority} for who always says the same"
    );
}

/// What a federation came to, by Python.
struct Trained {
    /// Share of all devices' test examples that are told right.
    accuracy: f64,
    /// Share that the commonest class has.
    majority: f64,
}

impl Trained {
    /// Runs a documented job to its end, exports its model, and compares what Python, the evaluation of
    /// rounds, `edge-agent evaluate` and the exported model say.
    fn by(job: &str, data: &Path, regions: Vec<Region>, how: &How) -> Self {
        let job =
            Job::load(&root().join(format!("config/jobs/{job}.toml"))).expect("a shipped job");
        let model = job.find_model(&root(), None).expect("a shipped model");
        let name = job.name.clone();
        let mut stage = Stage::set(job, regions.clone(), None);
        let course = stage.run(|_, _| {});
        let exported = stage.export();
        let file = stage.results.job(&name);
        let verdicts = python_verdicts(&exported, data, how);
        let claims = claims(&file, &model, &exported, &regions);
        assert_eq!(claims.len(), verdicts.len());
        for (device, claim) in &claims {
            let verdict = &verdicts[device];
            assert_alike(device, verdict, claim);
            let right = verdict.correct() as f64 / verdict.truths.len() as f64;
            let said = stage.evaluate(&exported, device);
            assert!(
                said.contains(&format!("accuracy {right:.4}")),
                "{right}: {said}"
            );
        }
        stage.end();

        let accuracy = accuracy(&verdicts);
        let last = course.rounds().last().expect("rounds");
        assert_eq!(last.participants as usize, verdicts.len());
        let said = last.accuracy.expect("an accuracy");
        assert!((said - accuracy).abs() < TOLERANCE, "{said} {accuracy}");
        Self {
            accuracy,
            majority: majority(verdicts.values()),
        }
    }
}

/// Every output of the exported model is Python's, and every class that a round's evaluation tells is the one
/// that Python's outputs tell, where these are not as good as equal.
fn assert_alike(device: &str, verdict: &Verdict, claim: &Claim) {
    assert_eq!(claim.outputs.len(), verdict.outputs.len(), "{device}");
    for (at, (ours, python)) in claim.outputs.iter().zip(&verdict.outputs).enumerate() {
        let apart = (f64::from(*ours) - python).abs();
        assert!(
            apart <= TOLERANCE * python.abs().max(1.0),
            "{device} {at}: {ours} {python}"
        );
    }
    let Predictions::Classes(predicted) = &claim.evaluation.predictions else {
        panic!("{device}: the jobs tell classes");
    };
    let told = verdict.told();
    assert_eq!(predicted.len(), told.len(), "{device}");
    for (example, (ours, (python, margin))) in predicted.iter().zip(told).enumerate() {
        let close = margin < TOLERANCE;
        assert!(
            close || *ours as usize == python,
            "{device} {example}: {ours} {python}"
        );
    }
}

fn majority<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> f64 {
    let truths: Vec<usize> = verdicts
        .flat_map(|verdict| verdict.truths.iter().map(|truth| *truth as usize))
        .collect();
    let mut counts = vec![0usize; truths.iter().max().map_or(0, |most| most + 1)];
    truths.iter().for_each(|truth| counts[*truth] += 1);
    let most = counts.iter().max().copied().unwrap_or(0);
    most as f64 / truths.len() as f64
}
