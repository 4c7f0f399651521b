//! Every command that an init command prints can be pasted as it stands, and together they make a
//! federation.

use std::path::Path;
use std::process::{Command, Output};

use fl_runtime::testing::{JETSTREAM, NatsProcess, Process, free_port, until};
use xtask::fetch;

use tributary_tests::{binaries, root};

/// A shell in a folder of its own that finds our programs.
fn shell(line: &str, folder: &Path) -> Command {
    let path = std::env::var("PATH").expect("a PATH");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", binaries().display()))
        .env_remove("CLOUD_ROOT_HOME");
    fetch::tools(&root())
        .expect("nats-server and ONNX Runtime")
        .set_on(&mut shell);
    shell
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a line, and gives the commands that it printed: the lines that stand apart.
fn paste(line: &str, folder: &Path) -> (String, Vec<String>) {
    let printed = said(&shell(line, folder).output().expect("a shell"));
    let commands = printed.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = commands.map(str::to_owned).collect();
    (printed, commands)
}

fn labelled(printed: &str, label: &str) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix(label));
    line.expect("a labelled line").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_init_commands_print_makes_a_federation() {
    let nats = NatsProcess::running(JETSTREAM);
    let made = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (made, elsewhere) = (made.path(), elsewhere.path());
    let broker = format!("127.0.0.1:{}", free_port());
    let data = root().join("data/heart-disease/us");
    let file = std::fs::read_dir(data).expect("shipped data").next();
    let data = file.expect("a device").expect("its file").path();

    let init = format!("cloud-root init --home 'the root' --nats {}", nats.url());
    let (printed, of_root) = paste(&init, made);
    let [export, serve] = &of_root[..] else {
        panic!("two commands, not {printed}");
    };
    let key = labelled(&printed, "root public key: ");
    let (printed, of_fog) = paste(
        &format!(
            "fog-aggregator init --home 'a \"fog\"' --name fog-us --region us --root-key {key} --nats {} --listen {broker}",
            nats.url()
        ),
        made,
    );
    let [enrol_fog, run_fog] = &of_fog[..] else {
        panic!("two commands, not {printed}");
    };
    let (printed, of_edge) = paste(
        &format!(
            "edge-agent init --home \"it's an edge\" --name edge-1 --region us --root-key {key} --broker mqtt://{broker} --data '{}'",
            data.display()
        ),
        made,
    );
    let [enrol_edge, check, run_edge] = &of_edge[..] else {
        panic!("three commands, not {printed}");
    };

    let enrol = format!("{export} && {enrol_fog} && {enrol_edge}");
    paste(&enrol, elsewhere);
    let mut processes = Vec::new();
    for (name, line) in [("root", serve), ("fog", run_fog)] {
        let mut process = Process::new(&made.join(format!("{name}.log")));
        process.start(shell(&format!("exec {line}"), elsewhere));
        processes.push(process);
    }
    // The root may need a moment to publish the roster, and the fog to read it.
    let verdicts = until("every verdict to be good", async || {
        let output = shell(check, elsewhere).output().expect("a shell");
        output
            .status
            .success()
            .then(|| said(&output))
            .filter(|said| said.contains("knows"))
    });
    let verdicts = verdicts.await;
    assert!(verdicts.contains("fog-us knows this device"), "{verdicts}");
    let mut agent = Process::new(&made.join("edge.log"));
    agent.start(shell(&format!("exec {run_edge}"), elsewhere));
    agent.logged(&["connected to the mqtt broker"]).await;
    assert!(agent.stop().await.success());
    for mut process in processes.into_iter().rev() {
        assert!(process.stop().await.success());
    }
}
