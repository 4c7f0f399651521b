//! Nothing that runs under `xtask guard` outlives the holder of its pipe.

mod common;

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use common::{eventually, is_alive, pid_in, xtask};
use rustix::process::{Pid, Signal};

fn guard(script: &str) -> Command {
    let mut command = Command::new(xtask());
    command
        .args(["guard", "--grace-ms", "500", "--", "sh", "-c", script])
        .stdin(Stdio::piped());
    command
}

/// Writes its own number to a file, then stays.
fn staying(file: &Path) -> String {
    format!("echo $$ > '{}'; exec sleep 1000", file.display())
}

fn code(status: ExitStatus) -> i32 {
    status.code().expect("the guard exits by itself")
}

fn send(pid: u32, signal: Signal) {
    let pid = pid
        .try_into()
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process exists");
}

#[test]
fn exits_with_the_commands_code() {
    let check = |script: &str, expected: i32| {
        let mut child = guard(script).spawn().unwrap();
        // `wait` would close the pipe first.
        let status = eventually("the end of the guard", || child.try_wait().unwrap());
        assert_eq!(code(status), expected, "{script}");
    };
    check("exit 0", 0);
    check("exit 7", 7);
    check("kill -KILL $$", 128 + 9);
}

#[test]
fn what_a_command_has_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > '{}'; exit 3", file.display());
    let mut child = guard(&script).spawn().unwrap();
    let status = eventually("the end of the guard", || child.try_wait().unwrap());
    assert_eq!(code(status), 3);
    let left = pid_in(&file);
    eventually("the end of the rest", || (!is_alive(left)).then_some(()));
}

#[test]
fn a_command_that_cannot_run_is_named() {
    let mut child = Command::new(xtask())
        .args(["guard", "--", "/nowhere/no such server"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Held open: a closed pipe would end the command before it can fail.
    let pipe = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(pipe);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("cannot run /nowhere/no such server"),
        "{message}"
    );
}

#[test]
fn closing_the_pipe_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut child = guard(&staying(&file)).spawn().unwrap();
    let command = pid_in(&file);
    drop(child.stdin.take());
    assert_eq!(code(child.wait().unwrap()), 128 + 15);
    assert!(!is_alive(command));
}

#[test]
fn a_command_deaf_to_sigterm_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "trap '' TERM; echo $$ > '{}'; while :; do sleep 1; done",
        file.display()
    );
    let mut child = guard(&script).spawn().unwrap();
    let command = pid_in(&file);
    drop(child.stdin.take());
    assert_eq!(code(child.wait().unwrap()), 128 + 9);
    assert!(!is_alive(command));
}

#[test]
fn signals_to_the_guard_end_the_command() {
    let check = |signal: Signal, expected: i32| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut child = guard(&staying(&file)).spawn().unwrap();
        let command = pid_in(&file);
        send(child.id(), signal);
        let status = eventually("the end of the guard", || child.try_wait().unwrap());
        assert_eq!(code(status), expected, "{signal:?}");
        assert!(!is_alive(command));
    };
    check(Signal::TERM, 128 + 15);
    check(Signal::INT, 128 + 15);
    check(Signal::QUIT, 128 + 9);
}

#[test]
fn sigkill_of_the_guard_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut child = guard(&staying(&file)).spawn().unwrap();
    let command = pid_in(&file);
    child.kill().unwrap();
    eventually("the end of the command", || {
        (!is_alive(command)).then_some(())
    });
    child.wait().unwrap();
}

#[test]
fn sigkill_of_the_guards_parent_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let command_file = folder.path().join("command");
    let guard_file = folder.path().join("guard");
    // The shell alone holds the pipe's writing end, as xtask does for its children.
    let script = format!(
        "mkfifo pipe; \"$0\" guard -- sh -c \"$1\" <pipe & echo $! > '{}'; exec 3>pipe; wait",
        guard_file.display()
    );
    let mut parent = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(xtask())
        .arg(staying(&command_file))
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let (guard, command) = (pid_in(&guard_file), pid_in(&command_file));
    assert!(is_alive(guard) && is_alive(command));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the end of both", || {
        (!is_alive(guard) && !is_alive(command)).then_some(())
    });
}

/// A workspace whose only build script tells its number and never ends.
fn write_endless_workspace(root: &Path, file: &Path) {
    let slow = root.join("slow");
    for folder in [root.join("xtask"), slow.join("src")] {
        std::fs::create_dir_all(folder).expect("a folder of our own");
    }
    let script = format!(
        "fn main() {{ std::fs::write({file:?}, format!(\"{{}}\\n\", std::process::id())).unwrap(); \
         loop {{ std::thread::park(); }} }}"
    );
    for (path, text) in [
        (
            root.join("Cargo.toml"),
            "[workspace]\nmembers = [\"slow\"]\n",
        ),
        (
            slow.join("Cargo.toml"),
            "[package]\nname = \"slow\"\nedition = \"2024\"\n",
        ),
        (slow.join("src/lib.rs"), ""),
        (slow.join("build.rs"), &script),
    ] {
        std::fs::write(path, text).expect("a file of our own");
    }
}

#[test]
fn sigkill_of_xtask_during_its_build_ends_cargo_and_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("a checkout"), folder.path().join("pid"));
    write_endless_workspace(&root, &file);
    let tools = xtask::fetch::tools(&xtask::workspace::root().unwrap()).unwrap();
    let mut command = Command::new(xtask());
    tools.set_on(&mut command);
    let mut builder = command
        .args(["test", "--quick"])
        .env("CARGO_MANIFEST_DIR", &root)
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&root)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let script = pid_in(&file);
    assert!(is_alive(script));
    builder.kill().unwrap();
    builder.wait().unwrap();
    eventually("the end of the build script", || {
        (!is_alive(script)).then_some(())
    });
    // Cargo held this lock while it lived.
    let lock = std::fs::File::open(root.join("target/debug/.cargo-lock")).unwrap();
    eventually("the end of cargo", || lock.try_lock().ok());
}
