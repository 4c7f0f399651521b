//! `edge-agent check`: a verdict on each part.

use std::fmt;
use std::time::Duration;

use fl_model::{JobSpec, RegionId, Role, RosterEntry};
use fl_runtime::clock::wall_us;
use fl_runtime::mqtt::{Event, MqttServer, SessionOptions, open, probe};
use fl_runtime::store::{HomeLock, StoreError};
use fl_runtime::{job_file, keys};
use fl_wire::topics::{Broadcast, Topic};
use fl_wire::{Envelope, Expected, MessageKind};
use tokio::time::timeout;

use crate::cli::CheckArguments;
use crate::data;
use crate::settings::{Home, SETTINGS_FILE};

/// How long the broker may take to give what it retained, in milliseconds.
const RETAINED_MS: u64 = 2_000;

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
                    "{} can be read; --job FILE.toml checks its columns",
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
    let fits = onnx_train::check_model(&bytes, &job.training, &job.data.inputs);
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
    let running = matches!(
        HomeLock::acquire(&home.folder),
        Err(StoreError::Locked { .. })
    );
    if running {
        let note = "not tried: the running agent is connected under this name".to_owned();
        return report.lines.push(("broker", Verdict::Note(note)));
    }
    if let Err(why) = probe(&server, home.device.as_str()).await {
        return report.add("broker", Err(why));
    }
    report.add(
        "broker",
        Ok(format!("{} lets {} in", server.url(), home.device)),
    );
    report.lines.push(("fog", fog(server, home).await));
}

/// Whether the region's fog has introduced itself, by an entry that our root signed.
async fn fog(server: MqttServer, home: &Home) -> Verdict {
    let topic = Topic::broadcast(&home.region, Broadcast::Fog).to_string();
    let options = SessionOptions {
        client_id: home.device.to_string(),
        subscriptions: vec![topic.clone()],
        presence: None,
    };
    let (session, mut events) = open(server, options);
    let retained = async {
        while let Some(event) = events.next().await {
            if let Event::Message(message) = event
                && message.topic == topic
            {
                return Some(message.payload);
            }
        }
        None
    };
    let payload = timeout(Duration::from_millis(RETAINED_MS), retained).await;
    session.close().await;
    match payload {
        Ok(Some(payload)) => match read_fog(&payload, home) {
            Ok(entry) => Verdict::Good(format!("{} serves region {}", entry.member, home.region)),
            Err(why) => Verdict::Bad(format!(
                "the fog's roster entry is not one that our root signed ({why}): check root.public_key"
            )),
        },
        _ => Verdict::Note(format!(
            "no fog has introduced itself in region {}: is fog-aggregator running and enrolled?",
            home.region
        )),
    }
}

fn read_fog(payload: &[u8], home: &Home) -> Result<RosterEntry, String> {
    let envelope = Envelope::parse(payload, fl_wire::limits::CONTROL_BYTES_MAX);
    let verified = envelope.and_then(|envelope| envelope.verify(&home.root_key));
    let entry = verified.and_then(|verified| {
        verified.expect(&Expected::kind(MessageKind::RosterEntry))?;
        verified.open::<RosterEntry>()
    });
    let entry = entry.map_err(|error| error.to_string())?;
    let of_region = |region: &RegionId| entry.region == *region;
    match entry.role == Role::Fog && of_region(&home.region) && !entry.removed {
        true => Ok(entry),
        false => Err(format!("{} is no fog of this region", entry.member)),
    }
}

fn clock() -> Verdict {
    match wall_us() {
        us if us < CLOCK_US_MIN => Verdict::Note(
            "set before 2024: rounds do not mind, but certificates and logs do".to_owned(),
        ),
        us => Verdict::Good(format!(
            "{} s since 1970; its offset from the fog's is logged at every connect",
            us / 1_000_000
        )),
    }
}
