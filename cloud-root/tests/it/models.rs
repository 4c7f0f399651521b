//! `model import|list|show|export`.

use crate::onnx::Linear;
use crate::root::{Root, shipped};

/// Importing such a file is refused: the file and the remedy are named, and nothing is kept.
fn check(content: &[u8], parts: &[&str]) {
    let root = Root::new();
    let file = root.file("my model.onnx", content);
    let file = file.to_str().unwrap();
    let all = [&[file], parts].concat();
    root.refuses(&["model", "import", file, "--name", "mine"], &all);
    assert_eq!(root.run(&["model", "list"]), "");
}

#[test]
fn an_operator_that_cannot_be_trained_is_named_with_those_that_can() {
    let model = Linear {
        operator: "Loop",
        ..Linear::default()
    };
    check(
        &model.bytes(),
        &["`layer`", "Loop", "supported are Abs, Add"],
    );
}

#[test]
fn weights_outside_of_the_file_are_named_with_the_way_to_put_them_in() {
    let model = Linear {
        external: Some("weights.bin"),
        ..Linear::default()
    };
    check(
        &model.bytes(),
        &["`w`", "another file", "save_as_external_data=False"],
    );
}

#[test]
fn shapes_that_do_not_go_together_are_named() {
    let model = Linear {
        shape: [4, 1],
        ..Linear::default()
    };
    check(&model.bytes(), &["`layer`", "MatMul", "4"]);
}

#[test]
fn a_file_that_is_no_model_is_told_so() {
    check(
        b"not a model at all",
        &["not an ONNX model", "export it again"],
    );
    check(b"", &["model"]);
}

#[test]
fn a_missing_file_is_named() {
    let root = Root::new();
    root.refuses(
        &["model", "import", "none.onnx", "--name", "mine"],
        &["cannot read none.onnx"],
    );
    let folder = root.home();
    root.refuses(
        &[
            "model",
            "import",
            folder.to_str().unwrap(),
            "--name",
            "mine",
        ],
        &["a home"],
    );
}

#[test]
fn adapters_are_added_on_import_and_told_of() {
    let root = Root::new();
    let shipped = shipped("config/models/air-mlp.onnx");
    let file = shipped.to_str().unwrap();
    let import = |more: &[&'static str]| -> Vec<&str> {
        [&["model", "import", file, "--name", "mlp"], more].concat()
    };
    let refused = |more: &[&'static str], parts: &[&str]| root.refuses(&import(more), parts);
    refused(
        &["--lora", "20"],
        &[file, "rank 20 is too large", "at most 14"],
    );
    let unknown = ["--lora", "2", "--lora-weights", "head.*"];
    refused(&unknown, &["lora-weights has `head.*`", "`fc1.weight`"]);
    refused(&["--lora-alpha", "2"], &["--lora"]);
    let told = root.run(&import(&[
        "--lora",
        "2",
        "--lora-weights",
        "fc1.*",
        "--explain",
    ]));
    for part in [
        "60 parameters in 2 tensors",
        "60 of 317 numbers travel, 257 stay as they are",
        "240 bytes",
        "it would have 1028",
        "fc1.weight.lora_A",
        "fc1.weight.lora_B",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_model_is_kept_under_its_name_and_shown() {
    let root = Root::new();
    let file = root.file("linear.onnx", Linear::default().bytes());
    let file = file.to_str().unwrap();
    let told = root.run(&["model", "import", file, "--name", "linear"]);
    assert!(
        told.starts_with("linear  3 parameters in 1 tensors"),
        "{told}"
    );
    // Once more is the same; another model under the name is not.
    root.run(&["model", "import", file, "--name", "linear"]);
    let other = shipped("config/models/heart-mlp.onnx");
    let other = other.to_str().unwrap();
    root.refuses(
        &["model", "import", other, "--name", "linear"],
        &["linear", "take another name"],
    );
    for name in ["../linear", "", ".hidden", "a b"] {
        root.refuses(&["model", "import", file, "--name", name], &["name"]);
    }
    let explained = root.run(&["model", "import", other, "--name", "heart-mlp", "--explain"]);
    for part in [
        "fc1.weight ",
        "operators: 2 Gemm, Relu",
        "computes about ",
        "for each example of the batch",
        "model = \"heart-mlp\"",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let list = root.run(&["model", "list"]);
    let names: Vec<_> = list.lines().map(|line| line.split("  ").next()).collect();
    assert_eq!(names, [Some("heart-mlp"), Some("linear")]);
    let shown = root.run(&["model", "show", "linear"]);
    assert!(shown.contains("w ") && shown.contains("[3, 1]"), "{shown}");
    root.refuses(
        &["model", "show", "none"],
        &["none", "heart-mlp, linear", "cloud-root model import"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_says_what_it_waits_for() {
    let root = Root::serving().await;
    let out = root.home().join("out.onnx");
    let out = out.to_str().unwrap();
    let export = |job: &'static str| ["model", "export", "--job", job, "-o", out];
    root.refuses(&export("none"), &["no job", "none"]);
    root.import_model();
    root.run(&["job", "submit", &root.job("early", &[])]);
    root.refuses(&export("early"), &["early", "statistics", "round 0"]);
    root.refuses(&export("a/b"), &["a/b"]);
    assert!(!root.home().join("out.onnx").exists());
}
