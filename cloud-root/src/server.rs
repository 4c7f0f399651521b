//! `cloud-root serve`: the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use fl_model::{JobId, MemberId, RegionId, Role};
use fl_runtime::clock::Clock;
use fl_runtime::control::ControlServer;
use fl_runtime::nats::{From, Nats, NatsServer, Stream};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::HomeLock;
use fl_telemetry::{Exporter, Metrics};
use fl_wire::limits::CONTROL_BYTES_MAX;
use fl_wire::subjects::{BEATS, LOG_SUBJECTS, Subject};
use fl_wire::{Envelope, Expected, FogBeat, MessageKind, SigningKey, VerifyingKey};
use tokio::sync::{broadcast, mpsc, watch};

use crate::home::Home;
use crate::jobs::{self, Board, Office};
use crate::publish::{NotLeader, Voice};
use crate::roster::RosterFile;
use crate::runner::{Command, Runner};
use crate::settings::RootSettings;
use crate::{api, trace};

/// Beats that a busy job may lag behind.
const BEATS_MAX: usize = 256;

/// How often the roster file is looked at.
const ROSTER_LOOK: Duration = Duration::from_secs(1);

/// How long the log may be silent before the oldest job is taken up.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the last spans may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Serves until it is told to end.
pub(crate) async fn serve(
    home: Home,
    settings: RootSettings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let _lock = HomeLock::acquire(home.folder())?;
    let key = home.key()?;
    let server = NatsServer::new(&settings.nats, home.folder())?;
    let nats = tokio::select! {
        nats = Nats::connect(&server, "cloud-root") => nats?,
        () = shutdown.requested() => return Ok(()),
    };
    nats.ensure_streams(&settings.streams).await?;
    warn_of_lazy_sync(settings.monitor_url.as_deref()).await;
    let (roster_sender, roster) = watch::channel(Arc::new(RosterFile::load(&home, &key)?));
    let identity = trace::identity(&settings.telemetry.environment);
    let metrics = Metrics::new(&identity)?;
    let exporter = Exporter::start(&settings.telemetry, home.folder(), Some(&metrics))?;
    let office = Arc::new(Office {
        voice: Voice {
            nats,
            key: key.clone(),
        },
        limits: settings.rounds.limits(),
        clock: Clock::start(),
        roster,
        beats: broadcast::channel(BEATS_MAX).0,
        exporter,
        identity,
        metrics,
        board: Board::default(),
        epoch: AtomicU64::new(0),
        home: home.clone(),
    });
    let control = ControlServer::start(
        home.folder(),
        &settings.control.listen,
        api::operators(office.clone()),
        api::everybody(office.clone()),
    )
    .await?;
    tracing::info!("serving; operators' endpoint on {}", control.address());
    let ended = tokio::select! {
        result = keep_roster(&office, &key, roster_sender) => result,
        result = hear_beats(&office) => result,
        result = run_jobs(office.clone()) => result,
        () = shutdown.requested() => Ok(()),
    };
    office.exporter.shutdown(FLUSH_MAX).await;
    ended
}

/// JetStream acknowledges before it is on disk unless the server is told otherwise.
async fn warn_of_lazy_sync(monitor_url: Option<&str>) {
    use fl_runtime::nats::{Durability, durability};
    let Some(url) = monitor_url else {
        return;
    };
    match durability(url).await {
        Ok(Durability::Always) => {}
        Ok(Durability::Within { interval }) => tracing::warn!(
            "nats writes to disk only every {} s: a power failure may lose what it has acknowledged; set jetstream {{ sync_interval: always }}",
            interval.as_secs_f64()
        ),
        Err(why) => {
            tracing::warn!("whether nats writes every message to disk at once is not known: {why}")
        }
    }
}

/// Sends the roster out, and again whenever an operator has changed its file.
async fn keep_roster(
    office: &Office,
    key: &SigningKey,
    sender: watch::Sender<Arc<RosterFile>>,
) -> anyhow::Result<()> {
    let path = office.home.roster_file();
    let changed_at = || {
        std::fs::metadata(&path)
            .and_then(|data| data.modified())
            .ok()
    };
    let mut seen: Option<SystemTime> = changed_at();
    let first = office.roster.borrow().clone();
    office.voice.roster(&first).await?;
    loop {
        tokio::time::sleep(ROSTER_LOOK).await;
        let now = changed_at();
        if now == seen {
            continue;
        }
        seen = now;
        match RosterFile::load(&office.home, key) {
            Ok(roster) => {
                tracing::info!("the roster has {} members", roster.members().len());
                if let Err(error) = office.voice.roster(&roster).await {
                    tracing::error!("the fogs do not hear of the new roster: {error:#}");
                }
                sender.send_replace(Arc::new(roster));
            }
            Err(error) => tracing::error!("the roster is not followed: {error:#}"),
        }
    }
}

/// Passes on the heartbeats that a fog of the roster has signed.
async fn hear_beats(office: &Office) -> anyhow::Result<()> {
    let mut fogs = Fogs::default();
    let mut subscription = office.voice.nats.subscribe(BEATS.to_owned()).await?;
    while let Some((subject, payload)) = subscription.next().await {
        let Ok(Subject::Beat(region)) = subject.parse() else {
            continue;
        };
        match fogs.beat(&office.roster.borrow(), &region, &payload) {
            Ok(beat) => {
                // No running job hears it: that is no error.
                let _ = office.beats.send((region, beat.devices_online));
            }
            Err(error) => tracing::debug!("a heartbeat of region {region} is refused: {error:#}"),
        }
    }
    anyhow::bail!("the session with nats has ended")
}

/// The fogs' keys, read again when the roster has grown.
#[derive(Default)]
struct Fogs {
    number: u64,
    keys: BTreeMap<RegionId, (MemberId, VerifyingKey)>,
}

impl Fogs {
    fn beat(
        &mut self,
        roster: &RosterFile,
        region: &RegionId,
        payload: &[u8],
    ) -> anyhow::Result<FogBeat> {
        if self.number != roster.number() {
            self.number = roster.number();
            let members = roster.members().into_values();
            let fogs = members
                .filter(|entry| entry.role == Role::Fog)
                .filter_map(|entry| {
                    let key = VerifyingKey::from_bytes(&entry.key).ok()?;
                    Some((entry.region, (entry.member, key)))
                });
            self.keys = fogs.collect();
        }
        let (fog, key) = self
            .keys
            .get(region)
            .context("it has no fog in the roster")?;
        let verified = Envelope::parse(payload, CONTROL_BYTES_MAX)?.verify(key)?;
        let expected = Expected::kind(MessageKind::FogBeat)
            .from_sender(fog)
            .in_region(region);
        verified.check(&expected)?;
        Ok(verified.open()?)
    }
}

/// Takes up the jobs that the log names, and runs them one after the other. A job that cannot go on does
/// not keep the others from it.
async fn run_jobs(office: Arc<Office>) -> anyhow::Result<()> {
    let nats = office.voice.nats.clone();
    let follow = || {
        nats.follow(
            Stream::Log,
            vec![LOG_SUBJECTS.to_owned()],
            From::LastPerSubject,
        )
    };
    let mut follower = follow();
    loop {
        // All jobs of an old log come at once; the oldest of them goes first.
        while let Ok(message) = tokio::time::timeout(SETTLE, follower.next()).await {
            if let Ok(Subject::Log(job)) = message.subject.parse()
                && let Err(error) = jobs::discover(&office, &job).await
            {
                tracing::error!("job {job} cannot be taken up: {error:#}");
            }
        }
        let Some((job, commands)) = office.board.take_next() else {
            continue;
        };
        // A job's own entries would pile up unread while it runs.
        drop(follower);
        match run_job(&office, &job, commands).await {
            Err(error) if error.is::<NotLeader>() => return Err(error),
            Err(error) => {
                tracing::error!(
                    "job {job} cannot go on: {error:#}; the next start of this root tries again"
                );
                office.board.fail(&job);
            }
            Ok(()) => {}
        }
        follower = follow();
    }
}

async fn run_job(
    office: &Arc<Office>,
    job: &JobId,
    commands: mpsc::Receiver<Command>,
) -> anyhow::Result<()> {
    let Some(replayed) = jobs::replay(office, job).await? else {
        return Ok(());
    };
    Runner::new(replayed.root, replayed.sequence, office.clone(), commands)
        .run()
        .await
}
