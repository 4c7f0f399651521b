//! `cloud-root serve`: the process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fl_model::{JobId, RegionId};
use fl_runtime::clock::Clock;
use fl_runtime::control::ControlServer;
use fl_runtime::nats::{Nats, NatsServer};
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::HomeLock;
use fl_telemetry::{Exporter, Metrics};
use fl_wire::limits::CONTROL_BYTES_MAX;
use fl_wire::subjects::{BEATS, Subject};
use fl_wire::{Envelope, Expected, FogBeat, MessageKind};
use tokio::sync::{broadcast, mpsc};

use crate::board::{Board, Command};
use crate::home::Home;
use crate::members::{self, RosterWatch};
use crate::office::Office;
use crate::patience::until_answered;
use crate::publish::{NotLeader, Voice};
use crate::roster::RosterFile;
use crate::runner::Runner;
use crate::settings::RootSettings;
use crate::sweep::Sweep;
use crate::{api, jobs, trace};

/// Beats that a busy job may lag behind.
const BEATS_MAX: usize = 256;

/// How long the last spans may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Serves until it is told to end.
pub(crate) async fn serve(
    home: Home,
    settings: RootSettings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let _lock = HomeLock::take(home.folder()).await?;
    let key = home.key()?;
    let members = RosterWatch::start(&home, &key)?;
    let server = NatsServer::new(&settings.nats, home.folder())?;
    let nats = tokio::select! {
        nats = Nats::connect(&server, "cloud-root") => nats?,
        () = shutdown.requested() => return Ok(()),
    };
    until_answered(|| nats.ensure_streams(&settings.streams)).await?;
    warn_of_lazy_sync(settings.monitor_url.as_deref()).await;
    let identity = trace::identity(&settings.telemetry.environment);
    let metrics = Metrics::new(&identity)?;
    let exporter = Exporter::start(&settings.telemetry, home.folder(), Some(&metrics))?;
    let office = Arc::new(Office {
        voice: Voice::new(nats, key),
        limits: settings.rounds.limits(),
        clock: Clock::start(),
        roster: members.subscribe(),
        beats: broadcast::channel(BEATS_MAX).0,
        exporter,
        identity,
        metrics,
        board: Board::default(),
        sweep: Sweep::default(),
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
        () = members.follow(&office.voice) => Ok(()),
        result = hear_beats(&office) => result,
        result = run_jobs(office.clone()) => result,
        () = office.sweep.run(&office.voice.nats, &office.board) => Ok(()),
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

/// Passes on the heartbeats that a fog of the roster has signed.
async fn hear_beats(office: &Office) -> anyhow::Result<()> {
    let mut subscription = office.voice.nats.subscribe(BEATS.to_owned()).await?;
    while let Some((subject, payload)) = subscription.next().await {
        let Ok(Subject::Beat(region)) = subject.parse() else {
            continue;
        };
        match read_beat(&office.roster.borrow(), &region, &payload) {
            Ok(beat) => {
                // No running job hears it: that is no error.
                let _ = office.beats.send((region, beat.devices_online));
            }
            Err(error) => tracing::debug!("a heartbeat of region {region} is refused: {error:#}"),
        }
    }
    anyhow::bail!("the session with nats has ended")
}

/// A sign of life that the region's fog has signed.
fn read_beat(roster: &RosterFile, region: &RegionId, payload: &[u8]) -> anyhow::Result<FogBeat> {
    let (fog, key) = roster.fog_of(region)?;
    let verified = Envelope::parse(payload, CONTROL_BYTES_MAX)?.verify(&key)?;
    let expected = Expected::kind(MessageKind::FogBeat)
        .from_sender(fog)
        .in_region(region);
    verified.check(&expected)?;
    Ok(verified.open()?)
}

/// Runs the jobs that the log names, and those that are submitted, one after the other. A job that cannot
/// go on does not keep the others from it.
async fn run_jobs(office: Arc<Office>) -> anyhow::Result<()> {
    // Before the first job runs: it has to lead above all others, and whatever they need has to stay.
    for job in jobs::logged(&office).await? {
        if let Err(error) = jobs::discover(&office, &job).await {
            tracing::error!("job {job} cannot be taken up: {error:#}");
            office.sweep.hold_objects();
        }
    }
    office.sweep.start();
    loop {
        let (job, commands) = office.board.next().await;
        match run_job(&office, &job, commands).await {
            Err(error) if error.is::<NotLeader>() => return Err(error),
            Err(error) => {
                tracing::error!(
                    "job {job} cannot go on: {error:#}; the next start of this root tries again"
                );
                office.board.fail(&job, format!("{error:#}"));
            }
            Ok(()) => {}
        }
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
    // What went before may have pushed it out of the stream.
    members::tell(&office.voice, &office.roster).await;
    Runner::new(replayed.root, replayed.sequence, office.clone(), commands)
        .run()
        .await
}
