//! The shell around [`fl_round::EdgeRound`]: a broker session, a bench that works, a ledger on disk.
//!
//! ```text
//!  broker ─► door ─► Agent (EdgeRound) ─► uplink ─► broker
//!                      │        ▲
//!                      └► worker ─► ledger
//! ```
//!
//! One loop owns the state machine and feeds it one event at a time. Work is done on a thread of its
//! own and reports back through a bounded queue.

pub(crate) mod agent;
pub(crate) mod door;
mod downloads;
pub(crate) mod identity;
mod keep;
pub(crate) mod link;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
mod stamp;
mod traces;
mod uplink;
mod worker;

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use fl_runtime::clock::Clock;
use fl_runtime::keys;
use fl_runtime::mqtt::{MqttServer, open};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::{HomeLock, ObjectCache};
use tokio::sync::mpsc;

use crate::feed::{Counts, Feed};
use crate::ledger::{Ledger, STATE_FILE};
use crate::ring::Ring;
use crate::settings::{DataSource, Home};
use agent::{Agent, Parts};
use downloads::Downloads;
use identity::Identity;
use link::Link;
use rows::{RoundRows, Source};
use uplink::Uplink;
use worker::Worker;
pub(crate) use worker::lock;

/// Results of work that may wait to be taken; there is one task at a time, and one that was cancelled.
const RESULTS_MAX: usize = 8;

/// Folder of fetched objects in a home.
const OBJECTS_FOLDER: &str = "objects";

/// Takes part in rounds until it is asked to end.
///
/// # Errors
/// What keeps the process from going on: settings, key, runtime, ledger. A broker that is away, data or
/// a model that cannot be used do not: they are logged, and the fog hears of them.
pub async fn run(home: Home, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = HomeLock::take(&home.folder).await?;
    let key = keys::load(&home.key_file())?;
    onnx_train::init_runtime(home.onnxruntime().as_deref())?;
    let server = MqttServer::new(&home.settings.broker, &home.folder)?;
    let settings = &home.settings;
    let ledger = Ledger::open(&home.folder, settings.outbox.bytes_max)?;
    let cache_bytes_max = settings.cache.bytes_max;
    let cache = ObjectCache::open(&home.folder.join(OBJECTS_FOLDER), cache_bytes_max)?;
    let (source, feed) = open_source(&home)?;
    let feed = feed.map(|feed| tokio::spawn(feed.run(shutdown.clone())));
    let identity = Arc::new(Identity {
        device: home.device.clone(),
        region: home.region.clone(),
        key,
    });
    tracing::info!(
        "{} of region {}: {} contributions wait in the outbox, epoch {}",
        home.device,
        home.region,
        ledger.outstanding().len(),
        ledger.epoch()
    );
    let link = Link::new(&home.folder);
    let (session, mut events) = open(server, identity.session_options());
    let (results, mut finished) = mpsc::channel(RESULTS_MAX);
    let ledger = Arc::new(Mutex::new(ledger));
    let clock = Clock::start();
    let worker = Arc::new(Worker::new(
        identity.clone(),
        ledger.clone(),
        RoundRows::new(source, home.split.clone(), &home.folder),
    ));
    let tidied = worker.clone();
    tokio::task::spawn_blocking(move || tidied.tidy());
    let mut agent = Agent::new(Parts {
        uplink: Uplink::start(&session, &identity),
        downloads: Downloads::new(cache, cache_bytes_max, settings.timing.want_ms),
        worker,
        runtime: runtime_text(&home),
        state_file: home.folder.join(STATE_FILE),
        timing: settings.timing.clone(),
        root_key: home.root_key,
        identity,
        ledger,
        results,
        clock,
    });
    let result = loop {
        let step = tokio::select! {
            () = shutdown.requested() => break Ok(()),
            event = events.next() => match event {
                Some(event) => {
                    link.tell(&event);
                    agent.on_session(event)
                }
                None => break Ok(()),
            },
            Some(done) = finished.recv() => agent.on_done(done),
            () = clock.sleep_until_ms(agent.next_wake()) => agent.on_wake(),
        };
        if let Err(error) = step {
            break Err(error).context("the ledger cannot be kept");
        }
    };
    agent.cancel();
    session.close().await;
    if let Some(feed) = feed {
        // Where something else than a wish ended the agent, the command ends with it.
        shutdown.request("the agent ends");
        feed.await.context("the command's feed broke")?;
    }
    result
}

/// Where the device's rows come from, and what fills that.
fn open_source(home: &Home) -> anyhow::Result<(Source, Option<Feed>)> {
    match &home.source {
        DataSource::File(file) => {
            if !file.exists() {
                tracing::warn!(
                    "data file {} does not exist yet: rounds are declined until it does",
                    file.display()
                );
            }
            Ok((Source::File(file.clone()), None))
        }
        DataSource::Command(command) => {
            let ring = Ring::open(&home.ring_folder(), command.bounds)?;
            let range = ring.range();
            tracing::info!(
                "{} rows of earlier runs of {} lie in {}",
                range.end - range.start,
                command.words.first().map_or("", String::as_str),
                ring.folder().display()
            );
            let (ring, counts) = (Arc::new(Mutex::new(ring)), Arc::new(Counts::default()));
            let feed = Feed::new(
                command.clone(),
                home.folder.clone(),
                ring.clone(),
                counts.clone(),
            );
            let source = Source::Ring {
                ring,
                rows_max: command.bounds.rows_max,
                counts,
            };
            Ok((source, Some(feed)))
        }
    }
}

/// What the fog shows of the runtime: the name of its library, or of what runs where there is none.
fn runtime_text(home: &Home) -> String {
    let named = home
        .onnxruntime()
        .or_else(|| std::env::var_os(onnx_train::RUNTIME_PATH_VARIABLE).map(Into::into));
    let name = named.as_deref().and_then(|path| path.file_name());
    let name = name.map(|name| name.to_string_lossy().into_owned());
    name.or_else(|| onnx_train::runtime_name().ok())
        .unwrap_or_default()
}
