//! Puts the gateway together and runs it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fl_round::{FogLimits, FogRound};
use fl_runtime::broker::Broker;
use fl_runtime::clock::Clock;
use fl_runtime::control::ControlServer;
use fl_runtime::mqtt::{self, Events, MqttServer, Session, SessionOptions};
use fl_runtime::nats::{Nats, NatsServer};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::HomeLock;
use fl_telemetry::metrics::Bus;
use fl_telemetry::{Exporter, Identity, Metrics, Service};
use fl_wire::subjects::Subject;
use fl_wire::topics::fog_subscriptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::broadcast::Broadcaster;
use crate::disk::{self, Home, Remembered, Stores};
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
    let _lock = HomeLock::take(home.folder()).await?;
    let site = Site::open(home, &settings)?;
    let nats_server = NatsServer::new(&settings.nats, home.folder())?;
    let way = Way::open(home, &settings, &site.me).await?;
    let status = watch::Sender::new(site.first_status(&way, &nats_server));
    let control = site.serve(home, &settings, &status).await?;
    tracing::info!("status, metrics and health are at {}", control.address());

    let connecting = Nats::connect(&nats_server, site.me.name.as_str());
    let nats = tokio::select! {
        nats = connecting => nats?,
        () = shutdown.requested() => return Ok(()),
    };
    site.metrics.connected(Bus::Nats);
    let (session, events) = mqtt::open(way.server.clone(), way.session_options(&site.me));
    let exporter = site.exporter.clone();
    let (name, region) = (site.me.name.clone(), site.me.region.clone());
    let running = site.assemble(&settings, &session, events, &nats, status, &shutdown);
    let (gateway, mut inputs, tasks) = running;
    tracing::info!("gateway {name} of region {region} runs");
    gateway.run(&mut inputs, shutdown).await;

    tasks.following.abort();
    tasks.beating.abort();
    session.close().await;
    drop(inputs);
    if let Some(broker) = way.broker {
        broker.stop().await;
    }
    nats.close().await;
    exporter.shutdown(FLUSH_LIMIT).await;
    // The gateway and its queue are gone: the writer ends with what it still has, or at a disk that
    // takes nothing.
    tasks.writing.await.context("the disk thread ended badly")
}

/// What a gateway is on its own machine.
struct Site {
    clock: Clock,
    me: Arc<Me>,
    stores: Arc<Stores>,
    remembered: Remembered,
    identity: Identity,
    metrics: Metrics,
    exporter: Exporter,
}

/// What runs beside the gateway.
struct Tasks {
    following: JoinHandle<()>,
    beating: JoinHandle<()>,
    writing: JoinHandle<()>,
}

impl Site {
    fn open(home: &Home, settings: &FogSettings) -> anyhow::Result<Self> {
        let me = settings.identity(home)?;
        let store = &settings.store;
        let stores = Stores::open(home, store.objects_bytes_max, store.outbox_bytes_max)?;
        let identity = Identity {
            service: Service::FogAggregator,
            instance: me.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: settings.telemetry.environment.clone(),
            host: fl_telemetry::resource::host_id(),
            region: Some(me.region.to_string()),
        };
        let metrics = Metrics::new(&identity)?;
        let exporter = Exporter::start(&settings.telemetry, home.folder(), Some(&metrics))?;
        Ok(Self {
            clock: Clock::start(),
            me: Arc::new(me),
            remembered: stores.recall()?,
            stores: Arc::new(stores),
            identity,
            metrics,
            exporter,
        })
    }

    fn first_status(&self, way: &Way, nats: &NatsServer) -> Status {
        let at = |address: String| BusStatus {
            address,
            connected: false,
        };
        Status {
            name: self.me.name.to_string(),
            region: self.me.region.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nats: at(nats.url()),
            broker: at(way.address.clone()),
            ..Status::default()
        }
    }

    async fn serve(
        &self,
        home: &Home,
        settings: &FogSettings,
        status: &watch::Sender<Status>,
    ) -> anyhow::Result<ControlServer> {
        let shown = Shown {
            status: status.subscribe(),
            metrics: self.metrics.clone(),
            home: home.folder().to_owned(),
        };
        let (guarded, open) = (endpoint::guarded(shown.clone()), endpoint::open(shown));
        let listen = &settings.control.listen;
        Ok(ControlServer::start(home.folder(), listen, guarded, open).await?)
    }

    /// The state machine as the disk remembers it.
    fn round(&self, settings: &FogSettings) -> FogRound {
        let limits = FogLimits {
            silence_ms: settings.rounds.silence_ms,
            grace_ms: settings.rounds.grace_ms,
            settled_max: SETTLED_MAX,
        };
        let open = self.remembered.open.as_ref();
        FogRound::restore(
            self.me.region.clone(),
            limits,
            self.remembered.state.epoch,
            open.map(|(restored, _)| restored.clone()),
            self.remembered.state.settled.clone(),
            self.clock.now_ms(),
        )
    }

    fn assemble(
        self,
        settings: &FogSettings,
        session: &Session,
        events: Events,
        nats: &Nats,
        status: watch::Sender<Status>,
        shutdown: &Shutdown,
    ) -> (Gateway, Inputs, Tasks) {
        let round = self.round(settings);
        let Self {
            clock,
            me,
            stores,
            remembered,
            identity,
            metrics,
            exporter,
        } = self;
        let (down_in, down) = mpsc::channel(INPUTS_MAX);
        let (written_in, written) = mpsc::channel(WRITTEN_MAX);
        let (done_in, done) = mpsc::channel(INPUTS_MAX);
        let beats = watch::Sender::new(Bytes::new());
        let open = remembered.open.as_ref();
        let snapshot_of = open.map(|(restored, _)| restored.partial.key.clone());
        let on_disk = (remembered.state.clone(), snapshot_of);
        let (disk, writing) = disk::start(
            Arc::clone(&stores),
            on_disk,
            me.key.clone(),
            written_in,
            shutdown.clone(),
        );
        let tasks = Tasks {
            following: tokio::spawn(follow(nats.clone(), me.region.clone(), down_in)),
            beating: tokio::spawn(beat(nats.clone(), Arc::clone(&me), beats.subscribe())),
            writing,
        };
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
            teller: Teller::new(exporter, identity),
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
        let inputs = Inputs {
            mqtt: events,
            down,
            written,
            done,
        };
        (Gateway::new(parts, round, remembered), inputs, tasks)
    }
}

/// The way to the devices.
struct Way {
    /// The embedded broker, where no other is set.
    broker: Option<Broker>,
    server: MqttServer,
    client_id: String,
    /// Where devices connect, without secrets.
    address: String,
}

impl Way {
    async fn open(home: &Home, settings: &FogSettings, me: &Me) -> anyhow::Result<Self> {
        if let Some(outside) = &settings.broker {
            let server = MqttServer::new(outside, home.folder())?;
            return Ok(Self {
                broker: None,
                client_id: me.name.to_string(),
                address: server.url().to_string(),
                server,
            });
        }
        let embedded = &settings.embedded_broker;
        let broker = Broker::start(embedded, &me.region, home.folder()).await?;
        Ok(Self {
            server: broker.own_server(),
            client_id: broker.own_client_id().to_owned(),
            address: broker.address().to_string(),
            broker: Some(broker),
        })
    }

    fn session_options(&self, me: &Me) -> SessionOptions {
        SessionOptions {
            client_id: self.client_id.clone(),
            subscriptions: fog_subscriptions(&me.region).to_vec(),
            presence: None,
        }
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
