//! What is printed can be pasted, and nobody has to read it.

use std::path::Path;
use std::process::{Command, Stdio};

use fl_runtime::testing::{Process, output_to_nobody};

use crate::root::{Root, command, public_key, said, shipped};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_goes_is_no_error() {
    let root = Root::serving().await;
    root.import_model();
    root.add("fog-north", 1, "fog", "north");
    root.run(&["job", "submit", &root.job("first", &[])]);
    root.run(&["job", "stop", "first"]);
    root.job_is("first", "stopped").await;
    for words in [
        &["roster", "list"][..],
        &["roster", "remove", "fog-north"],
        &["model", "list"],
        &["model", "show", "heart-mlp"],
        &["job", "list"],
        &["job", "show", "first"],
        &["job", "show", "first", "--json"],
        &["job", "watch", "first"],
    ] {
        let output = output_to_nobody(root.command(words));
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{words:?}: {output:?}"
        );
    }
    // It was done all the same.
    assert_eq!(root.run(&["roster", "list"]), "");
    // A failure keeps its status.
    let output = output_to_nobody(root.command(&["job", "show", "none"]));
    fl_runtime::testing::assert_refused(&output, &["none"]);
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let root = Root::new();
    root.add("fog-north", 1, "fog", "north");
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = root
        .command(&["roster", "list"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output();
    fl_runtime::testing::assert_refused(&output.unwrap(), &["cannot write to standard output"]);
}

/// A shell that finds our programs, in a folder of its own.
fn shell(line: &str, folder: &Path) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_cloud-root"))
        .parent()
        .unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env_remove("CLOUD_ROOT_HOME");
    shell
}

/// The commands among what was printed: the lines that stand apart.
fn commands(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("  "));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_can_be_pasted_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let nats = fl_runtime::testing::NatsProcess::running(fl_runtime::testing::JETSTREAM);
    // A relative path, with what a shell would take for something else.
    let init = command(&["init", "--nats", &nats.url(), "--home", "it's $HOME/root"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let [export, serve] = &commands(&said(&init))[..] else {
        panic!("two commands, not {init:?}");
    };
    let key = public_key(1);
    let add = format!("{export} && cloud-root roster add fog-1 {key} --role fog --region north");
    said(&shell(&add, elsewhere.path()).output().unwrap());

    let mut root = Process::new(&folder.path().join("log"));
    root.start(shell(&format!("exec {serve}"), elsewhere.path()));
    root.logged(&["serving"]).await;
    let model = shipped("config/models/heart-mlp.onnx");
    let import = command(&[
        "model",
        "import",
        model.to_str().unwrap(),
        "--name",
        "heart-mlp",
    ])
    .args(["--home", "it's $HOME/root"])
    .current_dir(folder.path())
    .output()
    .unwrap();
    let [submit] = &commands(&said(&import))[..] else {
        panic!("one command, not {import:?}");
    };
    std::fs::copy(
        shipped("config/jobs/heart-disease.toml"),
        elsewhere.path().join("FILE.toml"),
    )
    .unwrap();
    let submitted = said(&shell(submit, elsewhere.path()).output().unwrap());
    let [watch] = &commands(&submitted)[..] else {
        panic!("one command, not {submitted}");
    };
    let mut watch = shell(watch, elsewhere.path());
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let stop = serve.replace("serve", "job stop heart-disease");
    said(&shell(&stop, elsewhere.path()).output().unwrap());
    assert!(watch.wait().unwrap().success());
    assert!(root.stop().await.success());
}
