//! `check`: whether the gateway could run.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fl_model::Role;
use fl_runtime::broker::{Broker, BrokerError};
use fl_runtime::clock::wall_us;
use fl_runtime::control::ControlClient;
use fl_runtime::keys;
use fl_runtime::mqtt::{self, MqttServer};
use fl_runtime::nats::{Nats, NatsServer, Stream};
use fl_runtime::store::{Access, write_atomic};
use fl_wire::subjects::Subject;

use crate::disk::Home;
use crate::roster::Roster;
use crate::settings::FogSettings;
use crate::status::bytes;

/// How long NATS may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// A clock before this is not set [µs since 1970]: 2024-01-01.
const CLOCK_MIN_US: u64 = 1_704_067_200_000_000;

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was looked at.
    pub what: &'static str,
    /// What is good about it, or what to mend.
    pub result: Result<String, String>,
}

/// Answers every question that can be answered.
pub async fn check(home: &Home) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut say = |what, result| verdicts.push(Verdict { what, result });
    let settings = FogSettings::load(home);
    let read = settings.as_ref().map(|settings| {
        format!(
            "{} of region {}, from {}",
            settings.name,
            settings.region,
            home.settings().display()
        )
    });
    say("settings", read.map_err(|error| format!("{error:#}")));
    let key = keys::load(&home.key());
    let shown = key
        .as_ref()
        .map(|key| keys::public_hex(&key.verifying_key()));
    say("key", shown.map_err(ToString::to_string));
    say("clock", clock());
    if let Ok(settings) = &settings {
        say("disk", disk(home.folder(), settings.store.free_bytes_min));
        say("broker", broker(home, settings).await);
        match nats(home, settings).await {
            Ok((nats, verdict)) => {
                say("nats", Ok(verdict));
                say("streams", streams(&nats).await);
                say("roster", roster(home, settings, &nats).await);
            }
            Err(error) => say("nats", Err(error)),
        }
    }
    verdicts
}

/// The verdicts as lines.
pub fn table(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let (mark, line) = match &verdict.result {
            Ok(line) => ("ok  ", line),
            Err(line) => ("FAIL", line),
        };
        // Writing to a text does not fail.
        let _ = writeln!(text, "{mark} {:<9} {line}", verdict.what);
    }
    text
}

/// Bytes that are free under `folder`; none where the system does not say.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

fn clock() -> Result<String, String> {
    let now_us = wall_us();
    if now_us < CLOCK_MIN_US {
        return Err(
            "this machine's clock is not set: rounds work all the same, but traces and certificates do not; set it, for example with NTP".into(),
        );
    }
    Ok("set; nothing but traces and certificates depends on it".into())
}

fn disk(home: &Path, free_bytes_min: u64) -> Result<String, String> {
    let probe = home.join("check");
    write_atomic(&probe, b"", Access::Owner).map_err(|error| error.to_string())?;
    std::fs::remove_file(&probe)
        .map_err(|error| format!("cannot remove {}: {error}", probe.display()))?;
    let free = free_bytes(home).ok_or("the system does not say how much space is free")?;
    if free < free_bytes_min {
        return Err(format!(
            "only {} are free under {}: make room, or lower store.free_bytes_min ({free_bytes_min})",
            bytes(free),
            home.display()
        ));
    }
    Ok(format!(
        "{} is writable, {} free",
        home.display(),
        bytes(free)
    ))
}

async fn broker(home: &Home, settings: &FogSettings) -> Result<String, String> {
    let (_, region) = settings.names().map_err(|error| format!("{error:#}"))?;
    if let Some(broker) = &settings.broker {
        let server = MqttServer::new(broker, home.folder()).map_err(|error| error.to_string())?;
        mqtt::probe(&server, &settings.name).await?;
        return Ok(format!("{} lets us in", server.url()));
    }
    match Broker::start(&settings.embedded_broker, &region, home.folder()).await {
        Ok(broker) => {
            broker.stop().await;
            Ok(format!(
                "{} is free for the embedded broker",
                settings.embedded_broker.listen
            ))
        }
        Err(BrokerError::PortInUse { address }) if runs(home, address).await => {
            Ok(format!("the gateway of this home runs and has {address}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether it is this very gateway that has the address.
async fn runs(home: &Home, address: SocketAddr) -> bool {
    let Ok(client) = ControlClient::open(home.folder()) else {
        return false;
    };
    let status = client
        .get::<crate::status::Status>(crate::endpoint::STATUS_PATH)
        .await;
    status.is_ok_and(|status| status.broker.address == address.to_string())
}

async fn nats(home: &Home, settings: &FogSettings) -> Result<(Nats, String), String> {
    let server =
        NatsServer::new(&settings.nats, home.folder()).map_err(|error| error.to_string())?;
    let connecting = Nats::connect_once(&server, &settings.name);
    let connected = tokio::time::timeout(ANSWER_LIMIT, connecting).await;
    let nats = connected.map_err(|_| format!("nats at {} does not answer", server.url()))?;
    let nats = nats.map_err(|error| error.to_string())?;
    Ok((nats, format!("{} lets us in", server.url())))
}

async fn streams(nats: &Nats) -> Result<String, String> {
    for (stream, subject) in [(Stream::Down, "fl.down"), (Stream::Partials, "fl.partial")] {
        let read = tokio::time::timeout(ANSWER_LIMIT, nats.last(stream, subject)).await;
        let read = read.map_err(|_| format!("{} does not answer", stream.name()))?;
        read.map_err(|error| {
            format!(
                "{} cannot be read ({error}): start cloud-root, which makes the streams",
                stream.name()
            )
        })?;
    }
    Ok("FL_DOWN and FL_PARTIALS are there".into())
}

async fn roster(home: &Home, settings: &FogSettings, nats: &Nats) -> Result<String, String> {
    let me = settings
        .identity(home)
        .map_err(|error| format!("{error:#}"))?;
    let subject = Subject::Roster(me.region.clone()).to_string();
    let last = nats
        .last(Stream::Down, &subject)
        .await
        .map_err(|error| error.to_string())?;
    let last = last.ok_or_else(|| {
        format!(
            "the root has published no roster for region {}: run `{}` where it runs",
            me.region,
            keys::enrol_command(&me.name, &me.key.verifying_key(), Role::Fog, &me.region)
        )
    })?;
    let roster =
        Roster::read(&last.payload, &me.root, &me.region).map_err(|error| error.to_string())?;
    roster.own_entry(&me.name, &me.key.verifying_key(), &me.region)?;
    Ok(format!(
        "number {} names this gateway and {} devices",
        roster.number(),
        roster.len()
    ))
}
