//! A fleet starts, watches, kills, restarts and ends its children.

mod common;

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{PATIENCE, eventually, is_alive, pid_in, xtask};
use xtask::processes::{Fleet, Spec, free_port, run_to_end};

/// Ends with its standard input, as our binaries do.
const POLITE: &str = "echo ready; cat > /dev/null; echo bye";

fn shell(name: &str, script: &str) -> Spec {
    Spec::new(name, "/bin/sh").arguments(["-c", script])
}

fn is_ready(line: &str) -> Option<()> {
    (line == "ready").then_some(())
}

#[test]
fn children_end_gently_when_the_fleet_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs of a run");
    let mut fleet = Fleet::new(&logs).unwrap();
    fleet.spawn(shell("a", POLITE)).unwrap();
    fleet.spawn(shell("b", POLITE)).unwrap();
    let pids: Vec<u32> = ["a", "b"].map(|name| fleet.pid(name).unwrap()).into();
    fleet.wait_for_line("a", PATIENCE, is_ready).unwrap();
    assert!(
        fleet.spawn(shell("a", POLITE)).is_err(),
        "the name is taken"
    );
    drop(fleet);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(
        std::fs::read_to_string(logs.join("a.log")).unwrap(),
        "ready\nbye\n"
    );
}

#[test]
fn killed_child_is_no_failure_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(folder.path()).unwrap();
    fleet.spawn(shell("a", POLITE)).unwrap();
    fleet.wait_for_line("a", PATIENCE, is_ready).unwrap();
    assert!(fleet.restart("a").is_err(), "it is running");
    let first = fleet.pid("a").unwrap();
    fleet.kill("a").unwrap();
    assert!(!is_alive(first) && !fleet.is_running("a"));
    assert!(fleet.first_failed().is_none());
    fleet.restart("a").unwrap();
    // Only the second run's own line counts.
    fleet.wait_for_line("a", PATIENCE, is_ready).unwrap();
    assert!(fleet.is_running("a"));
    assert_eq!(fleet.starts("a"), 2);
    assert_eq!(fleet.stop("a", PATIENCE).unwrap().code(), Some(0));
    assert!(fleet.first_failed().is_none());
}

#[test]
fn failed_child_ends_a_wait_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(folder.path()).unwrap();
    fleet.spawn(shell("steady", POLITE)).unwrap();
    fleet
        .spawn(shell("weak", "echo the disk is full >&2; exit 3"))
        .unwrap();
    let error = fleet
        .wait_for_line("steady", PATIENCE, |_| None::<()>)
        .unwrap_err();
    let message = error.to_string();
    for needed in [
        "weak ended",
        "exit status: 3",
        "the disk is full",
        "weak.log",
    ] {
        assert!(message.contains(needed), "{message}");
    }
    assert_eq!(fleet.first_failed().unwrap().name, "weak");
}

#[test]
fn waiting_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(folder.path()).unwrap();
    let error = fleet
        .wait_until("the tide", Duration::from_millis(50), |_| Ok(None::<()>))
        .unwrap_err();
    assert!(
        error.to_string().contains("the tide did not come"),
        "{error}"
    );
}

#[test]
fn stubborn_child_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(folder.path()).unwrap();
    fleet.spawn(shell("a", "exec sleep 1000")).unwrap();
    let status = fleet.stop("a", Duration::from_millis(100)).unwrap();
    assert_eq!(status.code(), None);
}

#[test]
fn killing_a_guarded_child_kills_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut fleet = Fleet::new(folder.path().join("logs")).unwrap();
    let script = "echo $$ > \"$PID_FILE\"; exec sleep 1000";
    let spec = shell("server", script)
        .variable("PID_FILE", &file)
        .guarded(xtask());
    fleet.spawn(spec).unwrap();
    let first = pid_in(&file);
    fleet.kill("server").unwrap();
    assert!(!is_alive(first));
    std::fs::remove_file(&file).unwrap();
    fleet.restart("server").unwrap();
    let second = pid_in(&file);
    assert!(is_alive(second));
    assert!(fleet.end_all().is_empty(), "the guard ends by its pipe");
    eventually("the end of the program", || {
        (!is_alive(second)).then_some(())
    });
}

#[test]
fn short_commands_give_their_output_or_their_error() {
    let sh = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run_to_end(&mut command)
    };
    assert_eq!(sh("echo 42").unwrap(), "42\n");
    let message = sh("echo no such job >&2; exit 1").unwrap_err().to_string();
    assert!(
        message.contains("no such job") && message.contains("exit status: 1"),
        "{message}"
    );
}

#[test]
fn nats_server_comes_back_on_its_port_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let root = xtask::workspace::root().unwrap();
    let server = xtask::fetch::nats_server(&root).unwrap();
    let port = free_port().unwrap();
    let mut fleet = Fleet::new(folder.path().join("logs")).unwrap();
    let spec = Spec::new("nats-server", server)
        .arguments(["--addr", "127.0.0.1", "--jetstream", "--port"])
        .argument(port.to_string())
        .argument("--store_dir")
        .argument(folder.path().join("a store"))
        .guarded(xtask());
    let is_up = |line: &str| line.contains("Server is ready").then_some(());
    fleet.spawn(spec).unwrap();
    fleet.wait_for_line("nats-server", PATIENCE, is_up).unwrap();
    for _ in 0..2 {
        fleet.kill("nats-server").unwrap();
        fleet.restart("nats-server").unwrap();
        fleet.wait_for_line("nats-server", PATIENCE, is_up).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    fleet.stop("nats-server", PATIENCE).unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(fleet.first_failed().is_none());
}

/// Set for the process that holds the fleet and is killed: the folder it reports to.
const HOLDER: &str = "FLEET_HOLDER_FOLDER";

/// This test starts itself a second time, as the holder.
#[test]
fn sigkill_of_the_holder_leaves_nothing_behind() {
    if let Some(folder) = std::env::var_os(HOLDER) {
        hold_a_fleet(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigkill_of_the_holder_leaves_nothing_behind"])
        .env(HOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = ["polite", "guarded"].map(|name| pid_in(&folder.path().join(name)));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the end of all children", || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

fn hold_a_fleet(folder: &Path) -> ! {
    let report = |name: &str, rest: &str| {
        let file = folder.join(name);
        shell(name, &format!("echo $$ > \"$PID_FILE\"; {rest}")).variable("PID_FILE", file)
    };
    let mut fleet = Fleet::new(folder.join("logs")).expect("a folder of our own");
    fleet
        .spawn(report("polite", "cat > /dev/null"))
        .expect("sh exists");
    let deaf = report("guarded", "exec sleep 1000").guarded(xtask());
    fleet.spawn(deaf).expect("xtask is built");
    loop {
        std::thread::park();
    }
}
