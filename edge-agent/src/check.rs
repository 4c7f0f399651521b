//! `edge-agent check`: a verdict on each part.

use std::fmt;
use std::time::Duration;

use fl_model::{Epoch, JobSpec, Role};
use fl_runtime::clock::wall_us;
use fl_runtime::mqtt::{Event, MqttServer, open, probe};
use fl_runtime::store::{HomeLock, StoreError};
use fl_runtime::{job_file, keys};
use fl_wire::topics::Up;
use fl_wire::{Hello, SigningKey, VersionRange};
use tokio::time::timeout;

use crate::cli::CheckArguments;
use crate::data;
use crate::run::agent::CLOCK_OFFSET_SHOWN_US;
use crate::run::door::{Door, Incoming};
use crate::run::identity::{About, Identity};
use crate::run::link;
use crate::settings::{Home, SETTINGS_FILE};

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
            .map(|()| "ONNX Runtime is loaded".to_owned())
            .map_err(|e| e.to_string()),
    );
    check_job(&mut report, arguments, &home);
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

fn check_job(report: &mut Report, arguments: &CheckArguments, home: &Home) {
    let Some(path) = &arguments.job else {
        let file = &home.data_file;
        report.add(
            "data",
            match std::fs::File::open(file) {
                Ok(_) => Ok(format!(
                    "{} can be read; --job FILE.toml checks what is in it",
                    file.display()
                )),
                Err(error) => Err(format!("{}: {error}: set data.file", file.display())),
            },
        );
        return;
    };
    let job = match job_file::load(path) {
        Ok(job) => job,
        Err(error) => return report.add("job", Err(error.to_string())),
    };
    report.add("job", Ok(format!("{}: {}", path.display(), job.job)));
    let rows = data::load(&home.data_file, &job.data, home.split.as_ref());
    let rows = rows.map(|data| crate::say::rows(&home.data_file, &data));
    report.add("data", rows.map_err(|error| error.to_string()));
    if let Some(path) = &arguments.model {
        report.add("model", model(path, &job));
    }
}

fn model(path: &std::path::Path, job: &JobSpec) -> Result<String, String> {
    let place = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {place}: {error}"))?;
    let fits = onnx_train::check_model(&bytes, &job.training, &job.data);
    fits.map_err(|error| format!("{place}: {error}"))?;
    let layout = onnx_train::parameter_layout(&bytes).map_err(|error| error.to_string())?;
    Ok(format!(
        "{place}: {} tensors can be trained for {}",
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
    if matches!(
        HomeLock::acquire(&home.folder),
        Err(StoreError::Locked { .. })
    ) {
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
