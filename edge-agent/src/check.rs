//! `edge-agent check`: a verdict on each part.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fl_model::{Epoch, JobSpec, Role};
use fl_runtime::clock::wall_us;
use fl_runtime::mqtt::{Event, MqttServer, open, probe};
use fl_runtime::store::{HomeLock, StoreError};
use fl_runtime::{job_file, keys};
use fl_wire::topics::Up;
use fl_wire::{Hello, SigningKey, VersionRange};
use onnx_train::Model;
use tokio::time::timeout;

use crate::cli::CheckArguments;
use crate::data::{self, DataError};
use crate::feed::trial::try_command;
use crate::run::agent::CLOCK_OFFSET_SHOWN_US;
use crate::run::door::{Door, Incoming};
use crate::run::identity::{About, Identity};
use crate::run::link;
use crate::settings::{DataSource, Home, SETTINGS_FILE, SensorCommand};
use crate::{local, ring, say};

/// How long the region's fog may take to answer a hello, in milliseconds.
const ANSWER_MS: u64 = 3_000;

/// A clock before this cannot be right, in µs since 1970: 2024-01-01.
const CLOCK_US_MIN: u64 = 1_704_067_200_000_000;

/// The verdict on one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good(String),
    /// It works, and somebody should look at it.
    Note(String),
    /// It does not; what to do.
    Bad(String),
}

/// Verdicts in the order in which things depend on each other.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(&'static str, Verdict)>,
}

impl Report {
    /// Whether an agent would run and take part.
    pub fn is_good(&self) -> bool {
        !self
            .lines
            .iter()
            .any(|(_, verdict)| matches!(verdict, Verdict::Bad(_)))
    }

    /// The verdict on a part, where it was reached.
    pub fn of(&self, part: &str) -> Option<&Verdict> {
        let line = self.lines.iter().find(|(name, _)| *name == part)?;
        Some(&line.1)
    }

    fn add(&mut self, part: &'static str, verdict: Result<String, String>) {
        let verdict = verdict.map_or_else(Verdict::Bad, Verdict::Good);
        self.lines.push((part, verdict));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, verdict) in &self.lines {
            let (mark, text) = match verdict {
                Verdict::Good(text) => ("ok  ", text),
                Verdict::Note(text) => ("note", text),
                Verdict::Bad(text) => ("FAIL", text),
            };
            writeln!(f, "{mark}  {part:<9}  {text}")?;
        }
        Ok(())
    }
}

/// Looks at everything that `run` needs.
pub async fn check(arguments: &CheckArguments) -> Report {
    let mut report = Report::default();
    let home = match Home::load(&arguments.home) {
        Ok(home) => home,
        Err(error) => {
            report.add("settings", Err(format!("{error:#}")));
            return report;
        }
    };
    let place = arguments.home.join(SETTINGS_FILE);
    report.add(
        "settings",
        Ok(format!(
            "{}: {} of region {}",
            place.display(),
            home.device,
            home.region
        )),
    );
    report.add("key", key(&home));
    report.lines.push(("home", home_folder(&home)));
    let runtime = onnx_train::init_runtime(home.onnxruntime().as_deref());
    report.add(
        "runtime",
        runtime
            .and_then(|()| onnx_train::runtime_name())
            .map_err(|error| error.to_string()),
    );
    let job = check_job(&mut report, arguments);
    check_data(&mut report, &home, job.as_ref()).await;
    check_model(&mut report, arguments, job.as_ref());
    check_broker(&mut report, &home).await;
    report.lines.push(("clock", clock()));
    report
}

fn key(home: &Home) -> Result<String, String> {
    let key = keys::load(&home.key_file()).map_err(|error| error.to_string())?;
    Ok(format!(
        "public key {}",
        keys::public_hex(&key.verifying_key())
    ))
}

fn home_folder(home: &Home) -> Verdict {
    match HomeLock::acquire(&home.folder) {
        Ok(_) => Verdict::Good(format!("{} is free", home.folder.display())),
        Err(error @ StoreError::Locked { .. }) => Verdict::Note(error.to_string()),
        Err(error) => Verdict::Bad(error.to_string()),
    }
}

fn check_job(report: &mut Report, arguments: &CheckArguments) -> Option<JobSpec> {
    let path = arguments.job.as_ref()?;
    match job_file::load(path) {
        Ok(job) => {
            report.add("job", Ok(format!("{}: {}", path.display(), job.job)));
            Some(job)
        }
        Err(error) => {
            report.add("job", Err(error.to_string()));
            None
        }
    }
}

fn check_model(report: &mut Report, arguments: &CheckArguments, job: Option<&JobSpec>) {
    if let (Some(path), Some(job)) = (&arguments.model, job) {
        report.add("model", model(path, job));
    }
}

async fn check_data(report: &mut Report, home: &Home, job: Option<&JobSpec>) {
    if let DataSource::Command(command) = &home.source {
        report
            .lines
            .push(("command", check_command(home, command, job).await));
    }
    match (&home.source, job) {
        (_, Some(job)) => {
            let rows = local::load(home, &job.data);
            let verdict = match rows {
                Ok(data) => Verdict::Good(say::rows(&data_place(home), &data)),
                // It has had no time yet: whether the columns suit the job, the command's verdict says.
                Err(error @ DataError::NoRowsYet { .. }) => Verdict::Note(error.to_string()),
                Err(error) => Verdict::Bad(error.to_string()),
            };
            report.lines.push(("data", verdict));
        }
        (DataSource::File(file), None) => report.add(
            "data",
            match std::fs::File::open(file) {
                Ok(_) => Ok(format!(
                    "{} can be read; --job FILE.toml checks what is in it",
                    file.display()
                )),
                Err(error) => Err(format!("{}: {error}: set data.file", file.display())),
            },
        ),
        (DataSource::Command(command), None) => {
            let folder = home.ring_folder();
            let rows = ring::rows_in(&folder, command.bounds.rows_max);
            let told = rows.map(|rows| {
                format!(
                    "{} holds {rows} rows; --job FILE.toml checks them",
                    folder.display()
                )
            });
            report.add("data", told.map_err(|error| error.to_string()));
        }
    }
}

fn data_place(home: &Home) -> PathBuf {
    match &home.source {
        DataSource::File(file) => file.clone(),
        DataSource::Command(_) => home.ring_folder(),
    }
}

/// Runs the command for a moment, where no agent runs it already; what it gives is not kept.
async fn check_command(home: &Home, command: &SensorCommand, job: Option<&JobSpec>) -> Verdict {
    let program = command.words.first().map_or("", String::as_str);
    if is_running(home) {
        return Verdict::Note(format!(
            "the running agent runs {program}, so this does not: its log says how it fares"
        ));
    }
    let trial = try_command(command, &home.folder).await;
    let took = say::seconds(trial.took);
    let said = match trial.said.as_str() {
        "" => String::new(),
        said => format!(", and says: {said}"),
    };
    let ended = trial.ended.as_ref();
    if trial.header.is_empty() {
        let problem = match (trial.problem, ended) {
            (Some(problem), _) => format!(": {problem}"),
            (None, Some(_)) => String::new(),
            (None, None) => {
                ": let it flush after the header and after each row (python3 -u, stdbuf -oL)"
                    .to_owned()
            }
        };
        let how = ended.map_or("ran", String::as_str);
        return Verdict::Bad(format!(
            "{program} {how} without a header, in {took}{said}{problem}"
        ));
    }
    let split = home.split.as_ref();
    if let Some(Err(error)) =
        job.map(|job| data::check_columns(program, &trial.header, &job.data, split))
    {
        return Verdict::Bad(error.to_string());
    }
    let ended = ended.map_or_else(String::new, |how| format!("{how} and "));
    let mut told = format!("{program} {ended}gave {} rows in {took}", trial.rows);
    if trial.refused > 0 {
        let problem = trial.problem.unwrap_or_default();
        told += &format!("; {} lines would be left out, {problem}", trial.refused);
    }
    match ring::header_in(&home.ring_folder()) {
        Ok(Some(known)) if known != trial.header => {
            told +=
                "; it names other columns than the rows that are kept: `run` will set those aside";
        }
        Ok(_) => {}
        Err(error) => return Verdict::Bad(error.to_string()),
    }
    let is_odd = trial.rows == 0 || trial.refused > 0 || told.contains("set those aside");
    let told = told + &said;
    match is_odd {
        true => Verdict::Note(told),
        false => Verdict::Good(told),
    }
}

fn is_running(home: &Home) -> bool {
    matches!(
        HomeLock::acquire(&home.folder),
        Err(StoreError::Locked { .. })
    )
}

fn model(path: &std::path::Path, job: &JobSpec) -> Result<String, String> {
    let place = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {place}: {error}"))?;
    let model = Model::new(&bytes, &job.options);
    let fits = onnx_train::check_model(model, &job.training, &job.data);
    fits.map_err(|error| format!("{place}: {error}"))?;
    let failed = |error: onnx_train::TrainError| error.to_string();
    let layout = onnx_train::parameter_layout(model).map_err(failed)?;
    let parts = onnx_train::partition(model).map_err(failed)?;
    let parts = match parts.is_whole() {
        true => String::new(),
        false => format!("; {parts}"),
    };
    Ok(format!(
        "{place}: {} tensors can be trained for {}{parts}",
        layout.len(),
        job.job
    ))
}

async fn check_broker(report: &mut Report, home: &Home) {
    let server = match MqttServer::new(&home.settings.broker, &home.folder) {
        Ok(server) => server,
        Err(error) => return report.add("broker", Err(error.to_string())),
    };
    // The name of a running agent is taken at the broker; this one must not throw it out.
    if is_running(home) {
        let url = server.url();
        let verdict = match link::is_connected(&home.folder) {
            true => Verdict::Good(format!("the running agent is connected to {url}")),
            false => Verdict::Bad(format!(
                "the running agent is not connected to {url}: its log says why"
            )),
        };
        return report.lines.push(("broker", verdict));
    }
    if let Err(why) = probe(&server, home.device.as_str()).await {
        return report.add("broker", Err(why));
    }
    report.add(
        "broker",
        Ok(format!("{} lets {} in", server.url(), home.device)),
    );
    if let Ok(key) = keys::load(&home.key_file()) {
        let (fog, clock) = meet_fog(server, home, key).await;
        report.lines.push(("fog", fog));
        report.lines.extend(clock.map(|clock| ("offset", clock)));
    }
}

/// Says hello to the region's fog: what came of it, and how far its clock is from ours.
async fn meet_fog(server: MqttServer, home: &Home, key: SigningKey) -> (Verdict, Option<Verdict>) {
    let identity = Identity {
        device: home.device.clone(),
        region: home.region.clone(),
        key,
    };
    let mut door = Door::new(&home.device, &home.region, home.root_key);
    let (session, mut events) = open(server, identity.session_options());
    let mut fog = None;
    let answered = async {
        while let Some(event) = events.next().await {
            match event {
                Event::Connected => {
                    let topic = identity.topic(Up::Hello).to_string();
                    if let Ok(hello) = identity.seal(&hello(), &About::default()) {
                        let sent = session.publish(&topic, hello, false, Vec::new()).await;
                        sent.map_err(|error| tracing::debug!("{error}")).ok();
                    }
                }
                Event::Message(message) => match door.read(&message.topic, &message.payload) {
                    Ok(Incoming::Fog(member)) => fog = Some(Ok(member)),
                    Ok(Incoming::Welcome(welcome)) => return Some(welcome),
                    Err(refusal) if message.topic.ends_with("/bcast/fog") => {
                        fog = Some(Err(refusal));
                    }
                    _ => {}
                },
                Event::Disconnected { .. } => {}
            }
        }
        None
    };
    let answered = timeout(Duration::from_millis(ANSWER_MS), answered).await;
    let now_us = i64::try_from(wall_us()).unwrap_or(i64::MAX);
    session.close().await;
    let verdict = match (&fog, &answered) {
        (Some(Ok(member)), Ok(Some(_))) => Verdict::Good(format!("{member} knows this device")),
        (Some(Ok(member)), _) => Verdict::Bad(format!(
            "{member} does not answer: add this device where the root runs, with `{}`",
            keys::enrol_command(
                &home.device,
                &identity.key.verifying_key(),
                Role::Device,
                &home.region
            )
        )),
        (Some(Err(refusal)), _) => Verdict::Bad(format!(
            "the fog's roster entry is not one that our root signed ({refusal}): check root.public_key"
        )),
        (None, _) => Verdict::Note(format!(
            "no fog has introduced itself in region {}: is fog-aggregator running and enrolled?",
            home.region
        )),
    };
    let offset = answered.ok().flatten().map(|welcome| {
        let offset_us = welcome.fog_time_us.saturating_sub(now_us);
        let text = format!(
            "this clock is {:+.3} s off the fog's",
            -(offset_us as f64) / 1e6
        );
        match offset_us.saturating_abs() > CLOCK_OFFSET_SHOWN_US {
            true => Verdict::Note(format!(
                "{text}: rounds do not mind, but certificates and logs do"
            )),
            false => Verdict::Good(text),
        }
    });
    (verdict, offset)
}

fn hello() -> Hello {
    Hello {
        versions: VersionRange::SPOKEN,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: String::new(),
        outstanding: Vec::new(),
        epoch: Epoch::default(),
        wants: Vec::new(),
    }
}

fn clock() -> Verdict {
    match wall_us() {
        us if us < CLOCK_US_MIN => Verdict::Note(
            "set before 2024: rounds do not mind, but certificates and logs do".to_owned(),
        ),
        us => Verdict::Good(format!("{} s since 1970", us / 1_000_000)),
    }
}
