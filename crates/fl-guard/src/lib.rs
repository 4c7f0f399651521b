//! `PROGRAM guard -- CMD…`: runs a foreign program that knows nothing of us, and ends it when the
//! pipe on our standard input closes, however its other end died.
//!
//! Two processes stand between the holder of the pipe and CMD. The guard watches pipe and signals.
//! Its child, `PROGRAM guarded --guard PID -- CMD…`, asks the kernel to be killed with the guard and
//! becomes CMD, so not even a SIGKILL of the guard leaves CMD running. PROGRAM is whoever uses this:
//! its command line hands these two verbs to [`run`] and [`become_guarded`]. What CMD has started in
//! its process group ends with it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long CMD may take over its own end before it is killed.
pub const GRACE_MS: u64 = 10_000;
/// What shells add to a signal's number to make an exit code of it.
pub const SIGNAL_CODE_BASE: i32 = 128;
/// A SIGCHLD that came before we listened is made up for by looking this often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

enum Event {
    /// The pipe is closed, or somebody asks for a gentle end.
    End,
    /// SIGQUIT: kill CMD at once.
    Kill,
    /// A child may have ended.
    Child,
}

/// Our own program, also after a build has put another file in its place.
const OWN: &str = "/proc/self/exe";

/// `program` under a guard, for [`status`]; arguments, environment and folder are the program's.
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = own();
    command.args(["guard", "--"]).arg(program);
    command
}

/// Runs a [`guarded`] command to its end. However we end meanwhile, it ends with all it started.
pub fn status(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    // Held over the wait, which would close it and so end the command.
    let pipe = child.stdin.take();
    let status = child.wait();
    drop(pipe);
    status
}

fn own() -> Command {
    let mut command = Command::new(OWN);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command
}

/// Runs `command` (program and arguments) until it ends or is to end; gives its exit code, for a
/// signal 128 and its number.
pub fn run(command: &[OsString], grace: Duration) -> Result<u8> {
    let (sender, events) = mpsc::channel();
    watch_signals(sender.clone())?;
    let mut child = start(command)?;
    watch_stdin(sender);
    let mut kill_at: Option<Instant> = None;
    loop {
        if has_ended(&child)? {
            // Not yet reaped, so its group's number is still its own.
            signal_group(&child, Signal::KILL)?;
            return Ok(code_of(
                child.wait().context("cannot wait for the command")?,
            ));
        }
        let left = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            signal_group(&child, Signal::KILL)?;
            kill_at = None;
        }
        match events.recv_timeout(left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)) {
            Ok(Event::End) if kill_at.is_none() => {
                signal_group(&child, Signal::TERM)?;
                kill_at = Some(Instant::now() + grace);
            }
            Ok(Event::Kill) => signal_group(&child, Signal::KILL)?,
            Ok(Event::End | Event::Child) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the guard's watchers are gone"),
        }
    }
}

/// The inner half: dies with the process `guard`, and becomes `command`. Returns only to fail.
pub fn become_guarded(command: &[OsString], guard: i32) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command to run")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot ask to be ended with the guard")?;
    // The guard may have died before the kernel knew of our wish.
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if parent.map(i32::from) != Some(guard) {
        bail!("the guard {guard} is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            ": name a program that is there, and whose first line, if it has one, names one"
        }
        io::ErrorKind::PermissionDenied => ": make it executable (chmod +x)",
        _ => "",
    };
    let program = program.to_string_lossy();
    bail!("cannot run {program}: {error}{remedy}");
}

fn start(command: &[OsString]) -> Result<Child> {
    own()
        .args(["guarded", "--guard", &std::process::id().to_string(), "--"])
        .args(command)
        .stdin(Stdio::null())
        // A group of its own: the terminal's Ctrl-C reaches the guard, which ends it gently.
        .process_group(0)
        .spawn()
        .context("cannot start the command")
}

fn has_ended(child: &Child) -> Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let ended = rustix::process::waitid(WaitId::Pid(Pid::from_child(child)), options);
    Ok(ended.context("cannot wait for the command")?.is_some())
}

fn watch_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCHLD])
        .context("cannot listen for signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGCHLD => Event::Child,
                SIGQUIT => Event::Kill,
                _ => Event::End,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn watch_stdin(sender: Sender<Event>) {
    thread::spawn(move || {
        let mut ignored = [0; 256];
        loop {
            match io::stdin().read(&mut ignored) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        // Nobody to tell means that the command has ended meanwhile.
        let _ = sender.send(Event::End);
    });
}

fn signal_group(child: &Child, signal: Signal) -> Result<()> {
    match rustix::process::kill_process_group(Pid::from_child(child), signal) {
        // Already ended: the next look reaps it.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot signal the command"),
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNAL_CODE_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}
