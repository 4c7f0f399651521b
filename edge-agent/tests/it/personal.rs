//! A device's own model, where there is none to write.

use std::path::Path;

use fl_runtime::testing::assert_refused;

use crate::check::shipped;
use crate::common::{command, home};

#[test]
fn a_model_is_not_made_personal_by_parameters_that_are_not_there() {
    let folder = home("mqtt://127.0.0.1:1");
    let home = folder.path().join("edge home");
    let output = folder.path().join("own.onnx");
    let shared = shipped("config/jobs/heart-disease.toml");
    let check = |job: &Path, parts: &[&str]| {
        let mut command = command("personalize", &home);
        command.arg("--job").arg(job).arg("-o").arg(&output);
        let model = shipped("config/models/heart-mlp.onnx");
        let refused = command.arg("--model").arg(model).output().unwrap();
        assert_refused(&refused, parts);
        assert!(!output.exists());
    };
    check(
        &shared,
        &["job heart-disease", "local", "heart-mlp.onnx", "as it is"],
    );
    let text = std::fs::read_to_string(&shared).unwrap();
    let local = text.replacen("[training]\n", "[training]\nlocal = [\"fc2.*\"]\n", 1);
    let job = folder.path().join("job.toml");
    std::fs::write(&job, local).unwrap();
    check(
        &job,
        &["edge-01", "of job heart-disease yet", "edge-agent run"],
    );
}
