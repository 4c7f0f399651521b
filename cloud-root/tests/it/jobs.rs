//! `job submit|list|show|watch|stop` against a running root.

use std::process::Stdio;

use crate::onnx::Linear;
use crate::root::Root;

/// A root that knows the hospitals' model.
async fn ready() -> Root {
    let root = Root::serving().await;
    root.import_model();
    root
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_run_is_refused_by_name() {
    let root = ready().await;
    let linear = root.file("linear.onnx", Linear::default().bytes());
    root.run(&[
        "model",
        "import",
        linear.to_str().unwrap(),
        "--name",
        "linear",
    ]);
    let check = |from: &str, to: &str, parts: &[&str]| {
        let file = root.job("bad", &[(from, to)]);
        root.refuses(&["job", "submit", &file], parts);
    };
    check(
        "model = \"heart-mlp\"",
        "model = \"heart-mpl\"",
        &[
            "heart-mpl",
            "imported: heart-mlp, linear",
            "cloud-root model import FILE --name heart-mpl --home",
        ],
    );
    check(
        "quorum = 2",
        "quorun = 2",
        &["bad.toml", "\"quorun\"", "mean \"quorum\""],
    );
    check(
        "local_epochs",
        "local_epoch",
        &["bad.toml", "training.local_epoch"],
    );
    check("quorum = 2", "quorum = 0", &["bad.toml", "quorum is 0"]);
    check(
        "rounds = 40",
        "rounds = \"many\"",
        &["bad.toml", "rounds", "many"],
    );
    check("job = \"bad\"", "job = \"a/b\"", &["a/b"]);
    check("rounds = 40", "rounds = ", &["bad.toml", "TOML"]);
    check("rounds = 40", "", &["bad.toml", "\"rounds\""]);
    check(
        "[data]",
        "[sum]\nweight_max = 1000000000000\n[data]",
        &["bad.toml", "1000000000000", "does not fit below 2^63"],
    );
    // One logit, where two classes by softmax need two; and too few inputs.
    check(
        "loss = \"binary_cross_entropy\"",
        "loss = \"softmax_cross_entropy\"",
        &["heart-mlp does not fit job bad", "softmax cross-entropy"],
    );
    check(
        "model = \"heart-mlp\"",
        "model = \"linear\"",
        &["linear does not fit job bad", "15", "3"],
    );
    root.refuses(&["job", "submit", "none.toml"], &["none.toml"]);
    assert_eq!(root.run(&["job", "list"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_queue_and_each_can_be_stopped() {
    let mut root = ready().await;
    let told = root.run(&["job", "submit", &root.job("first", &[])]);
    assert!(told.contains("job watch first --home"), "{told}");
    root.job_is("first", "waiting").await;
    for name in ["second", "third"] {
        root.run(&["job", "submit", &root.job(name, &[])]);
    }
    let twice = root.job("first", &[]);
    root.refuses(&["job", "submit", &twice], &["first", "another name"]);
    let list = root.run(&["job", "list"]);
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let states: Vec<_> = lines
        .iter()
        .map(|words| (words[0], words[1], words[2]))
        .collect();
    let expected = [
        ("first", "waiting", "0/40"),
        ("second", "queued", "0/40"),
        ("third", "queued", "0/40"),
    ];
    assert_eq!(states, expected);
    assert!(list.contains("heart-mlp"), "{list}");

    // A job that waits its turn ends at once, and stays so when the root starts anew.
    root.run(&["job", "stop", "second"]);
    root.job_is("second", "stopped").await;
    root.job_is("first", "waiting").await;
    root.refuses(&["job", "stop", "second"], &["second", "over already"]);
    root.kill();
    root.start_again().await;
    root.job_is("third", "queued").await;
    root.job_is("second", "stopped").await;
    root.job_is("first", "waiting").await;

    root.run(&["job", "stop", "first"]);
    root.job_is("first", "stopped").await;
    root.job_is("third", "waiting").await;
    root.run(&["job", "stop", "third"]);
    root.job_is("third", "stopped").await;
    for verb in ["show", "watch", "stop"] {
        root.refuses(
            &["job", verb, "fourth"],
            &["no job", "fourth", "first, second, third"],
        );
        root.refuses(&["job", verb, "a/b"], &["a/b"]);
    }
    assert!(root.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_shown_and_watched_to_its_end() {
    let root = ready().await;
    root.run(&["job", "submit", &root.job("first", &[])]);
    root.job_is("first", "waiting").await;
    let shown = root.run(&["job", "show", "first"]);
    assert!(
        shown.starts_with("first") && shown.contains("0/40 rounds"),
        "{shown}"
    );
    let json = root.run(&["job", "show", "first", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["state"], "waiting");
    assert_eq!((&json["rounds"], &json["quorum"]), (&40.into(), &2.into()));
    assert_eq!(json["history"], serde_json::json!([]));

    let mut watch = root.command(&["job", "watch", "first", "--json"]);
    let watch = watch
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    root.run(&["job", "stop", "first"]);
    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let last = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["how"]),
        (&"ended".into(), &"stopped".into())
    );
    // Watched afterwards, it says the same.
    assert_eq!(
        root.run(&["job", "watch", "first"]),
        "job first is stopped\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_root_ends_says_how_to_go_on() {
    let mut root = Root::new();
    root.set("#: level = \"info\"", "level = \"debug\"");
    root.nats.start();
    root.start();
    root.logged(&["serving"]).await;
    root.import_model();
    root.run(&["job", "submit", &root.job("first", &[])]);
    root.job_is("first", "waiting").await;
    let mut watch = root.command(&["job", "watch", "first"]);
    let watch = watch
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It must be connected before the root goes.
    root.logged(&["first", "is watched"]).await;
    root.kill();
    root.start_again().await;
    let output = watch.wait_with_output().unwrap();
    fl_runtime::testing::assert_refused(&output, &["first", "cloud-root serve --home", "a home"]);
    // Nothing of the job is lost.
    root.job_is("first", "waiting").await;
}
