//! The container engine, and one federation in it under a name of its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};

use super::leftovers::{self, PROJECT_LABEL};
use crate::guard;
use crate::processes::{Interrupt, free_port, run_to_end};

/// How often a child and the user's wish to end are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often something that is not ready yet is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Seconds that containers have for their own end.
const STOP_S: &str = "10";
/// A creation that was under way when its client was ended may add something after the first sweep.
const SWEEPS_MAX: usize = 3;
/// The older compose must be at least this, for conditions of `depends_on`.
const OLD_COMPOSE_MIN: (u32, u32) = (1, 29);
/// By which compose marks what belongs to a service of a project.
const SERVICE_LABEL: &str = "com.docker.compose.service";

/// A container engine with compose in either form.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    compose: &'static [&'static str],
    interrupt: Interrupt,
}

impl Engine {
    /// Asks for the engine, then for `docker compose`, then for `docker-compose`.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn find(interrupt: Interrupt) -> Result<Self> {
        let asked = ["version", "--format", "{{.Server.Version}}"];
        run_to_end(Command::new("docker").args(asked)).context(
            "no container engine answers: install Docker (Debian, Ubuntu: sudo apt install docker.io), \
             start it, and see that you may use it (docker version)",
        )?;
        let forms: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        for compose in forms {
            let mut command = Command::new(compose[0]);
            command.args(&compose[1..]).args(["version", "--short"]);
            let Ok(version) = run_to_end(&mut command) else {
                continue;
            };
            let version = version.trim();
            ensure!(
                serves(version),
                "{} is version {version}: {}.{} or newer is needed",
                compose.join(" "),
                OLD_COMPOSE_MIN.0,
                OLD_COMPOSE_MIN.1
            );
            return Ok(Self { compose, interrupt });
        }
        bail!(
            "Docker has no compose: install docker compose's plug-in or docker-compose (Debian, Ubuntu: \
             sudo apt install docker-compose)"
        )
    }

    /// Runs a command that may take long, its output shown; Ctrl-C, our own end and the bound end it.
    ///
    /// # Errors
    /// It failed, took too long, or we are to end.
    pub(super) fn run(&self, command: &[&str], bound: Duration) -> Result<()> {
        self.run_with(command, &[], bound)
    }

    fn run_with(
        &self,
        command: &[&str],
        environment: &[(&str, String)],
        bound: Duration,
    ) -> Result<()> {
        self.not_interrupted()?;
        let shown = command.join(" ");
        // The guard ends the command when its standard input closes: here, or by our death.
        let (program, arguments) = command.split_first().context("no command to run")?;
        let mut child = guard::guarded(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let mut pipe = child.stdin.take();
        let end = Instant::now() + bound;
        let status = loop {
            if let Some(status) = child.try_wait().with_context(|| shown.clone())? {
                break status;
            }
            if self.interrupt.requested() || Instant::now() >= end {
                pipe = None;
            }
            thread::sleep(LOOK_AGAIN);
        };
        self.not_interrupted()?;
        ensure!(
            pipe.is_some(),
            "{shown} did not end within {} s",
            bound.as_secs()
        );
        ensure!(status.success(), "{shown} failed ({status})");
        Ok(())
    }

    /// # Errors
    /// Somebody asked us to end.
    pub(super) fn not_interrupted(&self) -> Result<()> {
        ensure!(!self.interrupt.requested(), "interrupted");
        Ok(())
    }
}

/// Whether compose of this version reads our file; only the older form has an early one.
fn serves(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLD_COMPOSE_MIN,
        // A development build without a number: its own messages will tell.
        _ => true,
    }
}

/// One federation of containers, networks and volumes.
#[derive(Debug)]
pub(super) struct Project {
    engine: Engine,
    name: String,
    file: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Project {
    /// A name and a port for Jaeger's pages that nobody uses; nothing is started. One that is to be
    /// `kept` when we have ended is named so that no later run clears it away.
    pub(super) fn new(engine: Engine, root: &Path, profile: &str, kept: bool) -> Result<Self> {
        let environment = vec![
            ("TRIBUTARY_PROFILE", profile.to_owned()),
            ("TRIBUTARY_JAEGER_PORT", free_port()?.to_string()),
        ];
        Ok(Self {
            engine,
            name: leftovers::project_name(kept),
            file: root.join("docker/compose.yaml"),
            environment,
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn compose<'a>(&'a self, arguments: &[&'a str]) -> Result<Vec<&'a str>> {
        let file = self.file.to_str();
        let file = file.with_context(|| format!("{} is not UTF-8", self.file.display()))?;
        let mut words = self.engine.compose.to_vec();
        words.extend(["-p", &self.name, "-f", file]);
        words.extend(arguments);
        Ok(words)
    }

    fn compose_command(&self, arguments: &[&str]) -> Result<Command> {
        let words = self.compose(arguments)?;
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs a compose command that may take long, its output shown.
    pub(super) fn run(&self, arguments: &[&str], bound: Duration) -> Result<()> {
        let words = self.compose(arguments)?;
        self.engine.run_with(&words, &self.environment, bound)
    }

    /// Runs a command in a container that may take long, its output shown.
    pub(super) fn run_in(
        &self,
        container: &str,
        arguments: &[&str],
        bound: Duration,
    ) -> Result<()> {
        let words: Vec<&str> = ["docker", "exec", container]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.engine.run(&words, bound)
    }

    /// The container of a service.
    pub(super) fn container(&self, service: &str) -> Result<String> {
        let project = format!("label={PROJECT_LABEL}={}", self.name);
        let service_label = format!("label={SERVICE_LABEL}={service}");
        let printed = run_to_end(
            Command::new("docker")
                .args(["ps", "--quiet", "--filter", &project])
                .args(["--filter", &service_label]),
        )?;
        let id = printed.trim().to_owned();
        ensure!(
            !id.is_empty() && !id.contains('\n'),
            "not one container of {service} runs in project {}",
            self.name
        );
        Ok(id)
    }

    /// Runs a short command in a container and gives what it printed.
    pub(super) fn exec(&self, container: &str, arguments: &[&str]) -> Result<String> {
        self.engine.not_interrupted()?;
        run_to_end(
            Command::new("docker")
                .args(["exec", container])
                .args(arguments),
        )
    }

    /// Hands a job file in; gives what the root answered.
    pub(super) fn submit(&self, container: &str, file: &Path) -> Result<String> {
        let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let output = Command::new("docker")
            .args(["exec", "-i", container])
            .args(["cloud-root", "job", "submit", "/dev/stdin"])
            .stdin(input)
            .output()
            .context("cannot run docker exec")?;
        ensure!(
            output.status.success(),
            "the job was not taken: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks until the answer is yes.
    pub(super) fn wait_until(
        &self,
        what: &str,
        bound: Duration,
        is_ready: impl Fn() -> bool,
    ) -> Result<()> {
        let end = Instant::now() + bound;
        while !is_ready() {
            self.engine.not_interrupted()?;
            ensure!(
                Instant::now() < end,
                "{what} was not ready within {} s",
                bound.as_secs()
            );
            thread::sleep(ASK_AGAIN);
        }
        Ok(())
    }

    /// Shows the logs' last lines, unless it was the user who ended it.
    pub(super) fn explain(&self, error: &Error, lines: &str) {
        if self.engine.not_interrupted().is_err() {
            return;
        }
        eprintln!("failed: {error:#}\nthe last lines of each log:");
        if let Ok(mut command) = self.compose_command(&["logs", "--tail", lines]) {
            // It failed already: a log that cannot be shown changes nothing.
            let _ = command.stdin(Stdio::null()).status();
        }
    }

    /// What a user types to look at a federation that stays up, and to end it.
    pub(super) fn how_to_talk(&self, job: &str) -> String {
        let port = self
            .environment
            .iter()
            .find(|(name, _)| *name == "TRIBUTARY_JAEGER_PORT");
        let port = port.map_or("", |(_, port)| port);
        let compose = format!(
            "{} -p {} -f '{}'",
            self.engine.compose.join(" "),
            self.name,
            self.file.display()
        );
        format!(
            "the federation stays up\n  \
             rounds in Jaeger   http://127.0.0.1:{port}\n  \
             the job            {compose} exec root cloud-root job show {job}\n  \
             a gateway          {compose} exec fog-city-east fog-aggregator status --home /var/lib/fog-aggregator\n  \
             logs               {compose} logs --follow\n  \
             take it down       {compose} down --volumes"
        )
    }

    /// Takes down what runs that were killed have left, so that this one does not share the machine with
    /// them.
    ///
    /// # Errors
    /// Names what is left.
    pub(super) fn clear_abandoned(&self) -> Result<()> {
        for name in leftovers::abandoned()? {
            println!("taking down {name}, which a killed run has left");
            let left = Self {
                name,
                engine: self.engine.clone(),
                file: self.file.clone(),
                environment: self.environment.clone(),
            };
            left.take_down()?;
        }
        Ok(())
    }

    /// Removes containers, networks and volumes; they are gone when this returns well.
    ///
    /// # Errors
    /// Names what is left.
    pub(super) fn take_down(&self) -> Result<()> {
        let mut left = String::new();
        for _ in 0..SWEEPS_MAX {
            let down = ["down", "--volumes", "--remove-orphans", "--timeout", STOP_S];
            let mut command = self.compose_command(&down)?;
            // Ctrl-C at the terminal is not for the sweeping.
            run_to_end(command.process_group(0))?;
            left = leftovers::of(&self.name)?;
            if left.is_empty() {
                return Ok(());
            }
        }
        bail!("of project {} there is left: {left}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_compose_does_not_serve() {
        let check =
            |version: &str, expected: bool| assert_eq!(serves(version), expected, "{version}");
        check("1.25.0", false);
        check("1.29.2", true);
        check("2.40.3", true);
        check("v2.3.3", true);
        check("5.0.0", true);
        check("dev", true);
    }
}
