//! A model that is imported with adapters: these alone travel, and what they learn is in the user's own graph.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use fl_view::RoundView;
use tributary_tests::{How, Stage, accuracy, python_verdicts, root, weights};
use xtask::demo::{CLOUD_ROOT, Job, discover};

const ROUNDS: u32 = 4;
const DEVICES: u64 = 4;
const DEVICE: &str = "desk-1";
/// The name that the model with adapters is imported by.
const MODEL: &str = "adapted";
const RANK: usize = 2;
/// What can be adapted of LeNet-5, with its sides.
const WEIGHTS: [(&str, [usize; 2]); 3] = [
    ("fc1.weight", [120, 400]),
    ("fc2.weight", [84, 120]),
    ("fc3.weight", [10, 84]),
];
/// Where the accuracy of a round and of the exported model may differ.
const TOLERANCE: f64 = 1e-3;
/// What rounding to f32 may leave of a sum of [`RANK`] products, as a share of its largest number.
const ROUNDING: f64 = 1e-4;

#[test]
fn adapters_alone_travel_and_are_exported_within_the_weights() {
    let data = root().join("data/digits");
    let mut job = Job::load(&root().join("config/jobs/digits.toml")).expect("a shipped job");
    job.set_rounds(ROUNDS);
    let file = job.find_model(&root(), None).expect("a shipped model");
    let mut stage = Stage::set(job, discover(&data).expect("shipped data"), None);
    let shown = import_with_adapters(&stage, &file);
    let trained: usize = WEIGHTS.iter().map(|(_, [n, k])| RANK * (n + k)).sum();
    let told = format!("{trained} of ");
    assert!(shown.contains(&told), "no {told:?} in {shown}");
    let course = stage.run(|_, _| {});
    let exported = stage.export();
    let (_, refused) = stage.personalize(&exported, DEVICE);
    let refusal = refused.expect_err("the job leaves nothing to its devices");
    assert!(refusal.contains("use it as it is"), "{refusal}");
    stage.end();

    let bytes = fs::read(&exported).expect("a model");
    let before = weights(&fs::read(&file).expect("a model"));
    let after = weights(&bytes);
    assert_moved_by_adapters(&before, &after);
    let numbers = before.values().map(Vec::len).sum::<usize>() as u64;
    let rounds = course.rounds().iter().filter(|round| round.trained());
    for round in rounds {
        // Not as much as a byte for each number of the model.
        let bound = DEVICES * numbers;
        let travelled = [round.edge_up_bytes, round.fog_up_bytes, round.down_bytes];
        assert!(travelled.iter().all(|bytes| *bytes < bound), "{round:?}");
    }

    let last: &RoundView = course.rounds().last().expect("rounds");
    assert_eq!(u64::from(last.participants), DEVICES);
    let said = last.accuracy.expect("an accuracy");
    let found = accuracy(&python_verdicts(&exported, &data, &How::digits()));
    assert!((said - found).abs() < TOLERANCE, "{said} {found}");
    let unchanged = exported.with_file_name("before.onnx");
    fs::write(&unchanged, put_back(bytes, &before, &after)).expect("a model");
    let scores = [&unchanged, &exported].map(|model| score(&stage.evaluate(model, DEVICE)));
    assert!(scores[1] > scores[0] + 0.3, "{scores:?}");
}

/// The accuracy at the end of what is printed of one device.
fn score(printed: &str) -> f64 {
    let last = printed.split_whitespace().last().expect("a line");
    last.parse().expect("a number")
}

/// Lets the job have the model as `--lora` makes it, and gives what is said of that.
fn import_with_adapters(stage: &Stage, file: &Path) -> String {
    let job = stage.results.job(&stage.job.name);
    let text = fs::read_to_string(&job).expect("a job file");
    let adapted = text.replace(
        &format!("model = \"{}\"", stage.job.model),
        &format!("model = \"{MODEL}\""),
    );
    assert_ne!(adapted, text);
    fs::write(&job, adapted).expect("a job file");
    let (rank, home) = (RANK.to_string(), stage.home());
    let words: [&dyn AsRef<OsStr>; 9] = [
        &"model", &"import", &file, &"--name", &MODEL, &"--lora", &rank, &"--home", &home,
    ];
    let shown = stage.federation.run(CLOUD_ROOT, words);
    shown.expect("an import")
}

type Weights = BTreeMap<String, Vec<f32>>;

/// Every adapted weight has moved by a matrix of the adapters' rank, and no other.
fn assert_moved_by_adapters(before: &Weights, after: &Weights) {
    assert!(after.keys().all(|name| !name.contains("lora")), "{after:?}");
    for (name, value) in before {
        let Some((_, sides)) = WEIGHTS.iter().find(|(adapted, _)| adapted == name) else {
            assert_eq!(&after[name], value, "{name} is frozen");
            continue;
        };
        let moved = after[name].iter().zip(value);
        let moved: Vec<f64> = moved.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let pivots = pivots(moved, *sides, RANK + 1);
        let noise = ROUNDING * pivots[0];
        assert!(
            pivots[RANK] < noise && noise < pivots[RANK - 1],
            "{name}: {pivots:?}"
        );
    }
}

/// The sizes of the first pivots of Gaussian elimination with complete pivoting: 0 beyond a matrix' rank.
fn pivots(mut matrix: Vec<f64>, [rows, columns]: [usize; 2], count: usize) -> Vec<f64> {
    assert_eq!(matrix.len(), rows * columns);
    let step = |_| {
        let sizes = matrix.iter().map(|number| number.abs()).enumerate();
        let (at, size) = sizes.max_by(|a, b| a.1.total_cmp(&b.1)).expect("numbers");
        let pivot = matrix[at];
        let own = matrix[at / columns * columns..][..columns].to_vec();
        for row in matrix.chunks_exact_mut(columns).filter(|_| size > 0.0) {
            let factor = row[at % columns] / pivot;
            row.iter_mut()
                .zip(&own)
                .for_each(|(number, own)| *number -= factor * own);
        }
        size
    };
    (0..count).map(step).collect()
}

/// The exported model with the weights that it began with.
fn put_back(mut model: Vec<u8>, before: &Weights, after: &Weights) -> Vec<u8> {
    let bytes = |numbers: &[f32]| -> Vec<u8> {
        let numbers = numbers.iter();
        numbers.flat_map(|number| number.to_le_bytes()).collect()
    };
    for (name, _) in WEIGHTS {
        let learnt = bytes(&after[name]);
        let found = model
            .windows(learnt.len())
            .position(|window| window == learnt);
        let at = found.expect("the weight's bytes");
        model[at..][..learnt.len()].copy_from_slice(&bytes(&before[name]));
    }
    model
}
