//! Named children under one roof.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};

use super::EXIT_WITH_STDIN;
use super::interrupt::Interrupt;
use super::log::Log;
use super::spec::Spec;
use crate::guard::SIGNAL_CODE_BASE;

/// Pause between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long children may take over a gentle end before they are killed.
const END_BOUND: Duration = Duration::from_secs(15);
/// A killed process is reaped within this, or something is very wrong.
const REAP_BOUND: Duration = Duration::from_secs(15);
/// Lines of a failed child's log that its failure repeats.
const TAIL_LINES: usize = 12;

/// The children of one federation. Dropping it ends them all.
#[derive(Debug)]
pub struct Fleet {
    logs: PathBuf,
    members: BTreeMap<String, Member>,
    interrupt: Interrupt,
}

#[derive(Debug)]
struct Member {
    spec: Spec,
    log_path: PathBuf,
    log: Log,
    started: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Running {
        child: Child,
        stdin: Option<ChildStdin>,
    },
    /// Ended; `asked` when we wanted it so.
    Ended { status: ExitStatus, asked: bool },
}

/// A child that ended although nobody asked it to.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The child's name.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The signal, when somebody outside ended it: SIGKILL, SIGTERM and their like. A crash of its
    /// own, such as SIGSEGV, is none of these.
    pub killed_by: Option<i32>,
    /// Its log file.
    pub log: PathBuf,
    /// The log's last lines.
    pub last_lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, status, log, ..
        } = self;
        write!(
            out,
            "{name} ended ({status}); the end of {}:",
            log.display()
        )?;
        for line in &self.last_lines {
            write!(out, "\n  {line}")?;
        }
        Ok(())
    }
}

impl Fleet {
    /// An empty fleet that keeps one log per child in the folder `logs`, made if missing.
    pub fn new(logs: impl Into<PathBuf>) -> Result<Self> {
        let logs = logs.into();
        fs::create_dir_all(&logs)
            .with_context(|| format!("cannot create the folder {}", logs.display()))?;
        Ok(Self {
            logs,
            members: BTreeMap::new(),
            interrupt: Interrupt::default(),
        })
    }

    /// Every wait fails as soon as `interrupt` is requested.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Starts a child under a new name.
    pub fn spawn(&mut self, spec: Spec) -> Result<()> {
        if self.members.contains_key(&spec.name) {
            bail!("a child called {} exists: restart it instead", spec.name);
        }
        let log_path = self.logs.join(format!("{}.log", spec.name));
        let log = Log::from_now_on(&log_path)
            .with_context(|| format!("cannot read {}", log_path.display()))?;
        let state = start(&spec, &log_path)?;
        let name = spec.name.clone();
        let member = Member {
            spec,
            log_path,
            log,
            started: 1,
            state,
        };
        self.members.insert(name, member);
        Ok(())
    }

    /// Starts an ended child again with the command it had.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let member = self.member(name)?;
        if member.is_running() {
            bail!("{name} is still running: stop or kill it first");
        }
        member.log = Log::from_now_on(&member.log_path)
            .with_context(|| format!("cannot read {}", member.log_path.display()))?;
        member.state = start(&member.spec, &member.log_path)?;
        member.started += 1;
        Ok(())
    }

    /// SIGKILL, and wait until the process and what it held are gone. A guarded program is killed
    /// together with its guard.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.member(name)?.kill()
    }

    /// Closes the child's pipe and waits for its own end; past `bound` it is killed.
    pub fn stop(&mut self, name: &str, bound: Duration) -> Result<ExitStatus> {
        let member = self.member(name)?;
        member.close_stdin();
        if member.wait(bound)?.is_none() {
            member.kill()?;
        }
        member
            .ended_status()
            .with_context(|| format!("{name} did not end"))
    }

    /// The names of all children, ended ones too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Whether the child exists and runs.
    pub fn is_running(&mut self, name: &str) -> bool {
        self.members.get_mut(name).is_some_and(Member::is_running)
    }

    /// The process id of a running child; of a guarded one, its guard's.
    pub fn pid(&mut self, name: &str) -> Option<u32> {
        let member = self.members.get_mut(name)?;
        if !member.is_running() {
            return None;
        }
        match &member.state {
            State::Running { child, .. } => Some(child.id()),
            State::Ended { .. } => None,
        }
    }

    /// How often the child was started.
    pub fn starts(&self, name: &str) -> usize {
        self.members.get(name).map_or(0, |member| member.started)
    }

    /// Where the child's log lies.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The whole lines that the child logged since the last call, or since its start.
    pub fn new_lines(&mut self, name: &str) -> Result<Vec<String>> {
        let member = self.member(name)?;
        member
            .log
            .new_lines()
            .with_context(|| format!("cannot read {}", member.log_path.display()))
    }

    /// The first child, by name, that ended although nobody asked it to.
    pub fn first_failed(&mut self) -> Option<Failure> {
        self.members.values_mut().find_map(Member::failure)
    }

    /// The children that ended although nobody asked them to, each told once: from then on they
    /// count as ended on purpose.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        let failures: Vec<Failure> = self
            .members
            .values_mut()
            .filter_map(Member::failure)
            .collect();
        for failure in &failures {
            self.excuse(&failure.name);
        }
        failures
    }

    /// Runs children under new names to their own end, `at_once_max` at a time, and gives those that
    /// did not succeed. An interrupt fails.
    pub fn run_all(&mut self, specs: Vec<Spec>, at_once_max: usize) -> Result<Vec<Failure>> {
        let mut failures = Vec::new();
        let mut waiting = specs.into_iter();
        let mut running: Vec<String> = Vec::new();
        loop {
            while running.len() < at_once_max.max(1)
                && let Some(spec) = waiting.next()
            {
                running.push(spec.name.clone());
                self.spawn(spec)?;
            }
            if running.is_empty() {
                return Ok(failures);
            }
            if self.interrupt.requested() {
                bail!("interrupted while {} ran", running.join(", "));
            }
            let mut ended = Vec::new();
            running.retain(|name| {
                let runs = self.is_running(name);
                if !runs {
                    ended.push(name.clone());
                }
                runs
            });
            for name in &ended {
                let failure = self.member(name)?.failure();
                failures.extend(failure.filter(|failure| !failure.status.success()));
                self.excuse(name);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn excuse(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name)
            && let State::Ended { asked, .. } = &mut member.state
        {
            *asked = true;
        }
    }

    /// Waits until the child logs a line that `wanted` accepts. Lines before it count as read.
    pub fn wait_for_line<T>(
        &mut self,
        name: &str,
        bound: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let what = format!("a line in the log of {name}");
        self.wait_until(&what, bound, |fleet| {
            let lines = fleet.new_lines(name)?;
            Ok(lines.iter().find_map(|line| wanted(line)))
        })
    }

    /// Polls `probe` until it gives a value. Fails past `bound`, on an interrupt, or when a child
    /// ends unasked; `what` names the thing in the message.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        bound: Duration,
        mut probe: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + bound;
        loop {
            // The probe first: a child's last line counts although it has ended since.
            if let Some(value) = probe(self)? {
                return Ok(value);
            }
            if self.interrupt.requested() {
                bail!("interrupted while waiting for {what}");
            }
            if let Some(failure) = self.first_failed() {
                bail!("while waiting for {what}: {failure}");
            }
            if Instant::now() >= end {
                bail!(
                    "{what} did not come within {} s: see the logs in {}",
                    bound.as_secs(),
                    self.logs.display()
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends all children: closes their pipes, waits, kills what is left. Says who had to be killed.
    pub fn end_all(&mut self) -> Vec<String> {
        for member in self.members.values_mut() {
            member.close_stdin();
        }
        let end = Instant::now() + END_BOUND;
        let mut killed = Vec::new();
        for (name, member) in &mut self.members {
            let left = end.saturating_duration_since(Instant::now());
            if !matches!(member.wait(left), Ok(Some(_))) {
                killed.push(name.clone());
                if let Err(error) = member.kill() {
                    eprintln!("{name} cannot be ended: {error:#}");
                }
            }
        }
        killed
    }

    fn member(&mut self, name: &str) -> Result<&mut Member> {
        self.members
            .get_mut(name)
            .with_context(|| format!("no child is called {name}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end_all();
    }
}

impl Member {
    /// Reaps the child if it has ended unasked.
    fn is_running(&mut self) -> bool {
        if let State::Running { child, stdin } = &mut self.state
            && let Ok(Some(status)) = child.try_wait()
        {
            let asked = stdin.is_none();
            self.state = State::Ended { status, asked };
        }
        matches!(self.state, State::Running { .. })
    }

    fn close_stdin(&mut self) {
        if self.is_running()
            && let State::Running { stdin, .. } = &mut self.state
        {
            *stdin = None;
        }
    }

    fn kill(&mut self) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        self.close_stdin();
        let State::Running { child, .. } = &mut self.state else {
            return Ok(());
        };
        // The guard takes SIGQUIT as: kill the program, reap it, and end.
        let signal = if self.spec.guard.is_some() {
            Signal::QUIT
        } else {
            Signal::KILL
        };
        // Not reaped yet, so the number cannot belong to another process.
        rustix::process::kill_process(Pid::from_child(child), signal)
            .with_context(|| format!("cannot kill {}", self.spec.name))?;
        if self.wait(REAP_BOUND)?.is_none() {
            bail!("{} survived its killing", self.spec.name);
        }
        Ok(())
    }

    fn wait(&mut self, bound: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + bound;
        while self.is_running() {
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(self.ended_status())
    }

    fn ended_status(&self) -> Option<ExitStatus> {
        match self.state {
            State::Ended { status, .. } => Some(status),
            State::Running { .. } => None,
        }
    }

    fn failure(&mut self) -> Option<Failure> {
        self.is_running();
        let State::Ended {
            status,
            asked: false,
        } = self.state
        else {
            return None;
        };
        let last_lines = Log::tail(&self.log_path, TAIL_LINES)
            .unwrap_or_else(|error| vec![format!("(its log cannot be read: {error})")]);
        Some(Failure {
            name: self.spec.name.clone(),
            status,
            killed_by: killed_by(status, self.spec.guard.is_some()),
            log: self.log_path.clone(),
            last_lines,
        })
    }
}

/// The signal that ended a child from outside. A guard tells it of its program in the exit code.
fn killed_by(status: ExitStatus, guarded: bool) -> Option<i32> {
    let told = status
        .code()
        .filter(|_| guarded)
        .and_then(|code| code.checked_sub(SIGNAL_CODE_BASE));
    status
        .signal()
        .or(told)
        .filter(|signal| [SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM].contains(signal))
}

fn start(spec: &Spec, log: &Path) -> Result<State> {
    let open = || format!("cannot write {}", log.display());
    let out = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(open)?;
    let errors = out.try_clone().with_context(open)?;
    let (program, arguments) = spec.command_line();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(EXIT_WITH_STDIN, "1")
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(errors)
        // The terminal's Ctrl-C is for us; the children end in order, by their pipes.
        .process_group(0);
    if let Some(folder) = &spec.folder {
        command.current_dir(folder);
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {} ({})", spec.name, program.display()))?;
    let stdin = child.stdin.take();
    Ok(State::Running { child, stdin })
}
