//! Puts the gateway together and runs it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fl_round::{FogLimits, FogRound};
use fl_runtime::broker::Broker;
use fl_runtime::clock::Clock;
use fl_runtime::control::ControlServer;
use fl_runtime::mqtt::{self, MqttServer, SessionOptions};
use fl_runtime::nats::{Nats, NatsServer};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::HomeLock;
use fl_telemetry::metrics::Bus;
use fl_telemetry::{Exporter, Identity, Metrics, Service};
use fl_wire::subjects::Subject;
use fl_wire::topics::fog_subscriptions;
use tokio::sync::{mpsc, watch};

use crate::broadcast::Broadcaster;
use crate::disk::{self, Home, Stores};
use crate::endpoint::{self, Shown};
use crate::fetch::Fetcher;
use crate::follow::follow;
use crate::gateway::{Gateway, Inputs, Parts};
use crate::mail::{Mail, Me};
use crate::partials::PartialSender;
use crate::settings::FogSettings;
use crate::state::SETTLED_MAX;
use crate::status::{BusStatus, Status};
use crate::telling::Teller;

/// Messages that may wait for the gateway from one side.
const INPUTS_MAX: usize = 64;

/// What the disk has done that the gateway has not heard; more than jobs that may wait for the disk.
const WRITTEN_MAX: usize = 1_024;

/// How long spans may take to leave at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Runs the gateway of a home until it is asked to end.
///
/// # Errors
/// What keeps it from starting; while it runs it waits for whatever is away instead.
pub async fn run(home: &Home, settings: FogSettings) -> anyhow::Result<()> {
    let shutdown = Shutdown::listen().context("the system does not let us listen to signals")?;
    run_until(home, settings, shutdown).await
}

/// Runs the gateway of a home until `shutdown` is requested.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    home: &Home,
    settings: FogSettings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let clock = Clock::start();
    let _lock = HomeLock::acquire(home.folder())?;
    let me = Arc::new(settings.identity(home)?);
    let store = &settings.store;
    let stores = Stores::open(home, store.objects_bytes_max, store.outbox_bytes_max)?;
    let stores = Arc::new(stores);
    let remembered = stores.recall()?;
    let nats_server = NatsServer::new(&settings.nats, home.folder())?;
    let outside = match &settings.broker {
        Some(broker) => Some(MqttServer::new(broker, home.folder())?),
        None => None,
    };
    let identity = identity(&me, &settings);
    let metrics = Metrics::new(&identity)?;
    let exporter = Exporter::start(&settings.telemetry, home.folder(), Some(&metrics))?;
    let broker = match &outside {
        Some(_) => None,
        None => Some(Broker::start(&settings.embedded_broker, &me.region, home.folder()).await?),
    };
    let status = watch::Sender::new(first_status(
        &me,
        broker.as_ref(),
        outside.as_ref(),
        &nats_server,
    ));
    let shown = Shown {
        status: status.subscribe(),
        metrics: metrics.clone(),
        home: home.folder().to_owned(),
    };
    let (guarded, open) = (endpoint::guarded(shown.clone()), endpoint::open(shown));
    let control =
        ControlServer::start(home.folder(), &settings.control.listen, guarded, open).await?;
    tracing::info!("status, metrics and health are at {}", control.address());

    let connecting = Nats::connect(&nats_server, me.name.as_str());
    let nats = tokio::select! {
        nats = connecting => nats?,
        () = shutdown.requested() => return Ok(()),
    };
    metrics.connected(Bus::Nats);

    let (server, client_id) = match (&broker, outside) {
        (Some(broker), _) => (broker.own_server(), broker.own_client_id().to_owned()),
        (None, Some(server)) => (server, me.name.to_string()),
        // One of the two is there by construction above.
        (None, None) => anyhow::bail!("no broker is set"),
    };
    let options = SessionOptions {
        client_id,
        subscriptions: fog_subscriptions(&me.region).to_vec(),
        presence: None,
    };
    let (session, events) = mqtt::open(server, options);

    let (down_in, down) = mpsc::channel(INPUTS_MAX);
    let (written_in, written) = mpsc::channel(WRITTEN_MAX);
    let (done_in, done) = mpsc::channel(INPUTS_MAX);
    let beats = watch::Sender::new(Bytes::new());
    let following = tokio::spawn(follow(nats.clone(), me.region.clone(), down_in));
    let beating = tokio::spawn(beat(nats.clone(), Arc::clone(&me), beats.subscribe()));
    let snapshot_of = remembered
        .open
        .as_ref()
        .map(|(restored, _)| restored.partial.key.clone());
    let on_disk = (remembered.state.clone(), snapshot_of);
    let (disk, writing) = disk::start(Arc::clone(&stores), on_disk, me.key.clone(), written_in);
    let restored = remembered
        .open
        .as_ref()
        .map(|(restored, _)| restored.clone());
    let limits = FogLimits {
        silence_ms: settings.rounds.silence_ms,
        grace_ms: settings.rounds.grace_ms,
        settled_max: SETTLED_MAX,
    };
    let round = FogRound::restore(
        me.region.clone(),
        limits,
        remembered.state.epoch,
        restored,
        remembered.state.settled.clone(),
        clock.now_ms(),
    );
    let parts = Parts {
        clock,
        mail: Mail::start(Me::clone(&me), session.clone()),
        broadcaster: Broadcaster::new(Me::clone(&me), session.clone(), Arc::clone(&stores)),
        fetcher: Fetcher::new(nats.clone(), Arc::clone(&stores), metrics.clone()),
        partials: PartialSender::new(
            Arc::clone(&me),
            nats.clone(),
            Arc::clone(&stores),
            metrics.clone(),
            done_in.clone(),
        ),
        teller: Teller::new(exporter.clone(), identity),
        session: session.clone(),
        nats: nats.clone(),
        done: done_in,
        me,
        beats,
        disk,
        stores,
        metrics,
        status,
    };
    let mut inputs = Inputs {
        mqtt: events,
        down,
        written,
        done,
    };
    tracing::info!(
        "gateway {} of region {} runs",
        parts.me.name,
        parts.me.region
    );
    Gateway::new(parts, round, remembered)
        .run(&mut inputs, shutdown)
        .await;

    following.abort();
    beating.abort();
    session.close().await;
    drop(inputs);
    if let Some(broker) = broker {
        broker.stop().await;
    }
    nats.close().await;
    exporter.shutdown(FLUSH_LIMIT).await;
    // The gateway and its queue are gone: the writer ends with what it still has.
    writing.await.context("the disk thread ended badly")
}

fn identity(me: &Me, settings: &FogSettings) -> Identity {
    Identity {
        service: Service::FogAggregator,
        instance: me.name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: settings.telemetry.environment.clone(),
        host: fl_telemetry::resource::host_id(),
        region: Some(me.region.to_string()),
    }
}

fn first_status(
    me: &Me,
    broker: Option<&Broker>,
    outside: Option<&MqttServer>,
    nats: &NatsServer,
) -> Status {
    let at = |address: String| BusStatus {
        address,
        connected: false,
    };
    let embedded = broker.map(|broker| broker.address().to_string());
    let broker = embedded.or_else(|| outside.map(|server| server.url().to_string()));
    Status {
        name: me.name.to_string(),
        region: me.region.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nats: at(nats.url()),
        broker: at(broker.unwrap_or_default()),
        ..Status::default()
    }
}

/// Sends each sign of life; one that does not get through is followed by the next.
fn beat(nats: Nats, me: Arc<Me>, mut beats: watch::Receiver<Bytes>) -> impl Future<Output = ()> {
    let subject = Subject::Beat(me.region.clone()).to_string();
    async move {
        while beats.changed().await.is_ok() {
            let beat = beats.borrow_and_update().clone();
            if let Err(error) = nats.publish(subject.clone(), beat).await {
                tracing::debug!("{error}");
            }
        }
    }
}

/// Whether a folder is the home of a gateway that has been made.
pub fn is_home(folder: &Path) -> bool {
    Home::at(folder).settings().is_file()
}
