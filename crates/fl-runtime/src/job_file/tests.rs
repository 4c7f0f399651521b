mod tensors;

use super::*;
use fl_model::{
    Decay, LocalOptimizer, ModelOptions, Schedule, Split, Window, WindowLabel, WindowLayout,
};

const GOOD: &str = r#"
job = "air"
model = "air-mlp"
rounds = 20
quorum = 8
deadline_s = 20
seed = 7

[training]
loss = "binary_cross_entropy"
learning_rate = 0.05
weight_decay = 1e-4
local_epochs = 3
batch_size = 32

[data]
time_column = "time"
features = ["SO2", { column = "hour", period = 24 }, { column = "kind", categories = ["a", "b"] }]
label = { column = "PM2.5", above = 75 }
split = { train_rows = [0, 1440], test_rows = [1440] }
"#;

#[test]
fn a_job_file_says_what_to_do() {
    let spec = parse(GOOD, "job.toml").unwrap();
    assert_eq!(spec.job.as_str(), "air");
    assert_eq!(
        (spec.rounds, spec.quorum, spec.deadline_ms),
        (20, 8, 20_000)
    );
    assert_eq!(spec.data.inputs.encoded_width(), 5);
    assert_eq!(
        spec.data.split,
        Split::Rows {
            train: (0, Some(1440)),
            test: (1440, None)
        }
    );
    assert_eq!(spec.training.optimizer, LocalOptimizer::SGD);
    assert_eq!(spec.schedule, Schedule::default());
    assert_eq!(spec.server, ServerOptimizer::FedAvg { learning_rate: 1.0 });
}

#[cfg(feature = "test")]
const EVERY_KEY: &str = include_str!("../../../../config/jobs/every-key.toml");

/// The ways of `[data]` exclude each other: this sample shows the other.
#[cfg(feature = "test")]
const EVERY_KEY_OF_TENSORS: &str = include_str!("../../../../config/jobs/every-key-tensors.toml");

#[cfg(feature = "test")]
#[test]
fn the_sample_names_every_key_and_its_default() {
    use crate::testing::{assert_names_every_key, uncommented};

    for (sample, place) in [
        (EVERY_KEY, "config/jobs/every-key.toml"),
        (EVERY_KEY_OF_TENSORS, "config/jobs/every-key-tensors.toml"),
    ] {
        let all = uncommented(sample);
        assert_ne!(all, sample);
        let as_it_stands = parse(sample, place).unwrap();
        assert_eq!(parse(&all, place).unwrap(), as_it_stands);
    }
    let sections = ["", "training", "sum", "server", "data"];
    let both = format!("{EVERY_KEY}\n{EVERY_KEY_OF_TENSORS}");
    assert_names_every_key::<JobFile>(&both, &sections);
}

#[test]
fn optimizers_and_schedules_are_read_with_their_settings() {
    let read = |keys: &str| {
        let with = GOOD.replacen(
            "learning_rate = 0.05",
            &format!("learning_rate = 0.05\n{keys}"),
            1,
        );
        parse(&with, "job.toml").unwrap()
    };
    let nesterov = read("momentum = 0.9\nnesterov = true\ngradient_norm_max = 2");
    let expected = LocalOptimizer::Sgd {
        momentum: 0.9,
        nesterov: true,
    };
    assert_eq!(nesterov.training.optimizer, expected);
    assert_eq!(nesterov.training.gradient_norm_max, 2.0);
    let adamw = read("optimizer = \"adamw\"\nbeta2 = 0.99");
    let expected = LocalOptimizer::Adam {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        decoupled: true,
    };
    assert_eq!(adamw.training.optimizer, expected);
    let check = |keys: &str, warmup_rounds: u32, decay: Decay| {
        let expected = Schedule {
            warmup_rounds,
            decay,
        };
        assert_eq!(read(keys).schedule, expected, "{keys}");
    };
    let step = |every, factor| Decay::Step { every, factor };
    check("schedule = \"step\"", 0, step(10, 0.5));
    let keys = "schedule = \"step\"\ndecay_every = 3\ndecay_factor = 0.1\nwarmup_rounds = 2";
    check(keys, 2, step(3, 0.1));
    check("schedule = \"linear\"", 0, Decay::Linear { end: 0.0 });
    check(
        "schedule = \"cosine\"\ndecay_end = 0.1",
        0,
        Decay::Cosine { end: 0.1 },
    );
}

#[test]
fn how_the_model_is_taken_is_read() {
    let rate = "learning_rate = 0.05";
    let keys = "output = \"logits\"\nfrozen = [\"encoder.*\"]\nlocal = [\"head.*\", \"*.bn.*\"]";
    let text = GOOD.replacen(rate, &format!("{rate}\n{keys}"), 1);
    let expected = ModelOptions {
        output: Some("logits".to_owned()),
        frozen: vec!["encoder.*".to_owned()],
        local: vec!["head.*".to_owned(), "*.bn.*".to_owned()],
    };
    assert_eq!(parse(&text, "job.toml").unwrap().options, expected);
    let plain = parse(GOOD, "job.toml").unwrap();
    assert_eq!(plain.options, ModelOptions::PLAIN);
}

#[test]
fn weights_of_classes_and_rows_are_read() {
    let rate = "learning_rate = 0.05";
    let text = GOOD.replacen(rate, &format!("{rate}\nclass_weights = [1, 2.5]"), 1);
    let text = text.replacen("[data]", "[data]\nweight = \"trust\"", 1);
    let spec = parse(&text, "job.toml").unwrap();
    assert_eq!(spec.training.class_weights, [1.0, 2.5]);
    let weight = |spec: &JobSpec| spec.data.inputs.table().unwrap().weight.clone();
    assert_eq!(weight(&spec).as_deref(), Some("trust"));
    let plain = parse(GOOD, "job.toml").unwrap();
    assert_eq!(plain.training.class_weights, [0.0; 0]);
    assert_eq!(weight(&plain), None);
}

#[test]
fn windows_are_read_with_their_defaults() {
    let check = |keys: &str, stride: u32, layout: WindowLayout, label: WindowLabel| {
        let with = format!("[data]\nwindow = {{ length = 24{keys} }}");
        let spec = parse(&GOOD.replacen("[data]", &with, 1), "job.toml").unwrap();
        let expected = Window {
            length: 24,
            stride,
            layout,
            label,
        };
        let table = spec.data.inputs.table().unwrap();
        assert_eq!(table.window, Some(expected), "{keys}");
    };
    use WindowLabel::{Last, Majority};
    use WindowLayout::{ChannelsFirst, TimeFirst};
    check("", 24, TimeFirst, Last);
    check(", stride = 6, layout = \"time_first\"", 6, TimeFirst, Last);
    check(", stride = 48, label = \"last\"", 48, TimeFirst, Last);
    let both = ", layout = \"channels_first\", label = \"majority\"";
    check(both, 24, ChannelsFirst, Majority);
    let rows = parse(GOOD, "job.toml").unwrap();
    assert_eq!(rows.data.inputs.table().unwrap().window, None);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |from: &str, to: &str, expected: &str| {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let message = parse(&text, "job.toml").unwrap_err().to_string();
        assert!(message.contains(expected), "{from} -> {to}: {message}");
    };
    check("quorum = 8", "quorun = 8", "quorum");
    check("quorum = 8", "quorum = 0", "quorum is 0");
    check("quorum = 8", "quorum = 8000", "above sum.contributions_max");
    check("job = \"air\"", "job = \"a/b\"", "job.toml: job: ");
    check("job = \"air\"", "job = \"a/b\"", "a/b");
    check("binary_cross", "binary-cross", "training.loss");
    let rate = "learning_rate = 0.05";
    let with = |key: &str| format!("{rate}\n{key}");
    check(
        rate,
        &with("nesterov = true"),
        "training.nesterov goes with training.momentum",
    );
    let never = with("schedule = \"step\"\ndecay_every = 0");
    check(rate, &never, "training.decay_every");
    check(rate, &with("schedule = \"sine\""), "training.schedule");
    check(
        rate,
        &with("gradient_norm_max = -1"),
        "training.gradient_norm_max",
    );
    check("deadline_s = 20", "deadline_s = 0", "from 0.001");
    check("deadline_s = 20", "deadline_s = 5e6", "to 4294967");
    check("0.05", "-0.05", "training.learning_rate");
    check("above = 75", "classes = [\"x\"]", "two classes");
    check("above = 75", "classes = [\"x\", \"x\"]", "\"x\" twice");
    let two = with("class_weights = [1, 2, 3]");
    check(rate, &two, "training.class_weights: 3 are given for 2");
    let negative = with("class_weights = [1, -2]");
    check(rate, &negative, "training.class_weights: -2 is none");
    check(
        rate,
        &with("frozen = [\"\"]"),
        "training.frozen has an empty",
    );
    check(rate, &with("output = \"\""), "training.output is empty");
    check(
        "[data]",
        "[data]\nweight = \"SO2\"",
        "data.weight is \"SO2\"",
    );
    check(", above = 75", "", "does not fit training.loss");
    check("\"SO2\"", "\"PM2.5\"", "label");
    check("\"SO2\"", "\"kind\"", "twice");
    check("period = 24", "period = 0", "period");
    check("[0, 1440]", "[1440, 0]", "train_rows");
    check("[0, 1440]", "[0, 1441]", "row 1440 is both");
    let rows = "train_rows = [0, 1440], test_rows = [1440]";
    check(rows, "test_fraction = 1.0", "test_fraction is 1");
    let same = "column = \"part\", train = \"a\", test = \"a\"";
    check(rows, same, "train and test are both");
    check(
        "test_rows = [1440]",
        "test_fraction = 0.2",
        "split takes one of",
    );
    let window = |keys: &str| format!("[data]\nwindow = {{ {keys} }}");
    check("[data]", &window("length = 0"), "data.window: length is 0");
    check("[data]", &window("length = 4097"), "1 to 4096");
    check(
        "[data]",
        &window("length = 2, stride = 0"),
        "data.window: stride is 0",
    );
    check(
        "[data]",
        &window("length = 2, layout = \"rows\""),
        "data.window",
    );
    let overflow = "[sum]\nweight_max = 1000000000000\n[data]";
    check("[data]", overflow, "does not fit below 2^63");
    let number = GOOD.replacen("binary_cross_entropy", "huber", 1);
    let number = number.replacen(", above = 75", "", 1);
    let majority = window("length = 2, label = \"majority\"");
    let refused = parse(&number.replacen("[data]", &majority, 1), "job.toml").unwrap_err();
    let message = refused.to_string();
    assert!(message.contains("\"PM2.5\" is a number"), "{message}");
}
