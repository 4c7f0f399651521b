//! The jobs of a root: which there are, which one runs, and what is known of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fl_model::{Epoch, JobId, LogEntry, ObjectRef, RegionId};
use fl_round::{RootLimits, RootRound, RootStage};
use fl_runtime::clock::Clock;
use fl_runtime::nats::{ObjectError, ReadError, Stream};
use fl_runtime::store::{Access, write_atomic};
use fl_telemetry::{Exporter, Identity, Metrics, wall_us};
use fl_wire::limits::LOG_ENTRY_BYTES_MAX;
use fl_wire::subjects::Subject;
use fl_wire::{Encoded as _, Envelope, Expected, MessageKind, ParameterObject};
use tokio::sync::{broadcast, mpsc, watch};

use crate::home::{Home, root_name};
use crate::job_view::{self, JobEvent, JobView, RoundView};
use crate::models::ModelStore;
use crate::publish::Voice;
use crate::roster::RosterFile;
use crate::runner::Command;

/// Events that a slow watcher may lag behind.
const EVENTS_MAX: usize = 1024;

/// Commands that wait for a job.
const COMMANDS_MAX: usize = 8;

/// State of a job that this process gave up.
const FAILED: &str = "failed";

/// Between two tries while the bus is away.
const RETRY: Duration = Duration::from_millis(500);

/// What every part of a running root shares.
pub(crate) struct Office {
    pub(crate) home: Home,
    pub(crate) voice: Voice,
    pub(crate) limits: RootLimits,
    pub(crate) clock: Clock,
    pub(crate) roster: watch::Receiver<Arc<RosterFile>>,
    pub(crate) beats: broadcast::Sender<(RegionId, u32)>,
    pub(crate) exporter: Exporter,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    /// The highest epoch of any job: fogs and devices keep one for all of them.
    pub(crate) epoch: AtomicU64,
}

impl Office {
    /// The highest epoch that any job's log names.
    pub(crate) fn epoch_max(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Notes the epoch of a job.
    pub(crate) fn saw_epoch(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// Notes that every region was told of a job's end, so that no start tells it again.
    pub(crate) fn mark_ended(&self, job: &JobId) {
        let file = self.home.ended_file(job);
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let marked = folder
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(write_atomic(&file, b"", Access::Umask)?));
        if let Err(error) = marked {
            tracing::warn!("the end of {job} is told again at the next start: {error:#}");
        }
    }

    /// An object that must be there; waits for the bus as long as it is away.
    pub(crate) async fn object(&self, object: &ObjectRef) -> anyhow::Result<Vec<u8>> {
        let mut told = false;
        loop {
            match self.voice.nats.get_object(object).await {
                Err(ObjectError::Unavailable { .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            "object {} cannot be read now: waiting",
                            object.digest.short()
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
                read => return Ok(read?),
            }
        }
    }
}

/// What is known of a job.
struct Known {
    view: JobView,
    submitted_us: u64,
    events: broadcast::Sender<JobEvent>,
    commands: mpsc::Sender<Command>,
    inbox: Option<mpsc::Receiver<Command>>,
    export: ExportInput,
}

/// What an export of the model needs.
#[derive(Debug, Clone)]
pub(crate) struct ExportInput {
    pub(crate) model: ObjectRef,
    pub(crate) parameters: ObjectRef,
    pub(crate) inputs: fl_model::FeatureSpec,
    pub(crate) normalization: Option<fl_model::Normalization>,
}

impl ExportInput {
    fn of(root: &RootRound) -> Self {
        Self {
            model: root.model(),
            parameters: root.parameters(),
            inputs: root.spec().data.inputs.clone(),
            normalization: root.normalization().cloned(),
        }
    }
}

/// The jobs as the operators' endpoint shows them.
#[derive(Default)]
pub(crate) struct Board(Mutex<BTreeMap<JobId, Known>>);

impl Board {
    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job up as its log tells it; one that is over for everybody is only shown.
    fn insert(&self, root: &RootRound, history: Vec<RoundView>, submitted_us: u64, over: bool) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let known = Known {
            view: job_view::job(root, false, history),
            submitted_us,
            events: broadcast::channel(EVENTS_MAX).0,
            commands,
            inbox: (!over).then_some(inbox),
            export: ExportInput::of(root),
        };
        self.jobs().entry(root.job().clone()).or_insert(known);
    }

    /// Notes what a running job has done, and tells those who watch it.
    pub(crate) fn tell(&self, root: &RootRound, event: JobEvent) {
        let mut jobs = self.jobs();
        let Some(known) = jobs.get_mut(root.job()) else {
            return;
        };
        let mut history = std::mem::take(&mut known.view.history);
        if let JobEvent::Done(round) = &event {
            history.retain(|before| before.round != round.round);
            history.push((**round).clone());
        }
        known.view = job_view::job(root, true, history);
        known.export = ExportInput::of(root);
        // Nobody watching is no error.
        let _ = known.events.send(event);
    }

    /// Notes that a job cannot go on before the root starts again, and ends its watches.
    pub(crate) fn fail(&self, job: &JobId) {
        if let Some(known) = self.jobs().get_mut(job) {
            known.view.state = FAILED.to_owned();
            // Nobody watching is no error.
            let _ = known.events.send(JobEvent::Ended {
                how: FAILED.to_owned(),
            });
        }
    }

    /// Every job, oldest first.
    pub(crate) fn list(&self) -> Vec<JobView> {
        let jobs = self.jobs();
        let mut views: Vec<_> = jobs
            .values()
            .map(|known| (known.submitted_us, known.view.clone()))
            .collect();
        views.sort_by_key(|(submitted_us, _)| *submitted_us);
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// One job.
    pub(crate) fn show(&self, job: &JobId) -> Option<JobView> {
        self.jobs().get(job).map(|known| known.view.clone())
    }

    /// One job so far, and what happens to it from now on.
    pub(crate) fn watch(&self, job: &JobId) -> Option<(JobView, broadcast::Receiver<JobEvent>)> {
        let jobs = self.jobs();
        let known = jobs.get(job)?;
        Some((known.view.clone(), known.events.subscribe()))
    }

    /// What an export of a job's model needs.
    pub(crate) fn export(&self, job: &JobId) -> Option<ExportInput> {
        self.jobs().get(job).map(|known| known.export.clone())
    }

    /// The way to a job that is not over.
    pub(crate) fn commands(&self, job: &JobId) -> Option<mpsc::Sender<Command>> {
        self.jobs().get(job).map(|known| known.commands.clone())
    }

    /// The oldest job that is not over, or whose end was not told yet, with its inbox.
    pub(crate) fn take_next(&self) -> Option<(JobId, mpsc::Receiver<Command>)> {
        let mut jobs = self.jobs();
        let waiting = jobs.iter_mut().filter(|(_, known)| known.inbox.is_some());
        let (job, known) = waiting.min_by_key(|(_, known)| known.submitted_us)?;
        Some((job.clone(), known.inbox.take()?))
    }
}

/// A job read from its log.
pub(crate) struct Replayed {
    pub(crate) root: RootRound,
    pub(crate) sequence: u64,
    history: Vec<RoundView>,
    submitted_us: u64,
}

/// Reads a job's log; none where there is no such job.
pub(crate) async fn replay(office: &Office, job: &JobId) -> anyhow::Result<Option<Replayed>> {
    let subject = Subject::Log(job.clone()).to_string();
    let messages = loop {
        match office.voice.nats.read_all(Stream::Log, &subject).await {
            Err(error @ ReadError::Unavailable { .. }) => {
                tracing::warn!("{error}: trying again");
                tokio::time::sleep(RETRY).await;
            }
            read => break read?,
        }
    };
    let key = office.voice.key.verifying_key();
    let mut entries = Vec::with_capacity(messages.len());
    for message in &messages {
        let verified = Envelope::parse(&message.payload, LOG_ENTRY_BYTES_MAX)?.verify(&key)?;
        verified.check(&Expected::kind(MessageKind::LogEntry).in_job(job))?;
        let entry: LogEntry = verified
            .open()
            .with_context(|| format!("entry {} of the log of {job}", message.sequence))?;
        entries.push(entry);
    }
    let Some((first, rest)) = entries.split_first() else {
        return Ok(None);
    };
    let LogEntry::Submitted { at_us, .. } = first else {
        bail!("the log of {job} does not begin with its submission");
    };
    let mut root = RootRound::replay(office.limits, std::slice::from_ref(first))?;
    let mut history: Vec<RoundView> = Vec::new();
    for entry in rest {
        root.fold(entry);
        if let Some(view) = root.finished_round().and_then(job_view::round) {
            history.retain(|before| before.round != view.round);
            history.push(view);
        }
    }
    Ok(Some(Replayed {
        sequence: messages.last().map_or(0, |message| message.sequence),
        submitted_us: *at_us,
        root,
        history,
    }))
}

/// Takes a job up that the log names, if it is not known yet.
pub(crate) async fn discover(office: &Office, job: &JobId) -> anyhow::Result<()> {
    if office.board.show(job).is_some() {
        return Ok(());
    }
    if let Some(replayed) = replay(office, job).await? {
        let ended = matches!(replayed.root.stage(), RootStage::Ended(_));
        let over = ended && office.home.ended_file(job).exists();
        office.saw_epoch(replayed.root.epoch());
        office.board.insert(
            &replayed.root,
            replayed.history,
            replayed.submitted_us,
            over,
        );
        let state = if ended { "over" } else { "not over" };
        tracing::info!(
            "job {job} is in the log and {state}: {} of {} rounds done",
            replayed.root.merged_rounds(),
            replayed.root.spec().rounds
        );
    }
    Ok(())
}

/// Accepts a job: checks it against its model, stores what its devices will fetch, writes its first entry.
pub(crate) async fn submit(office: &Office, text: &str, place: &str) -> anyhow::Result<JobId> {
    let spec = fl_runtime::job_file::parse(text, place)?;
    let job = spec.job.clone();
    if office.board.show(&job).is_some() {
        bail!("a job called {job} was submitted before: take another name");
    }
    let model = ModelStore::of(&office.home).load(&spec.model)?;
    onnx_train::check_model(&model, &spec.training, &spec.data.inputs)
        .with_context(|| format!("model {} does not fit job {job}", spec.model))?;
    let tensors = onnx_train::starting_parameters(&model, spec.randomize, spec.seed)?;
    let layout = onnx_train::parameter_layout(&model)?;
    let parameters = ParameterObject {
        names: layout.iter().map(|info| info.name.clone()).collect(),
        shapes: layout.into_iter().map(|info| info.shape).collect(),
        tensors,
    };
    let lengths = parameters
        .tensors
        .iter()
        .map(|tensor| tensor.len() as u64)
        .collect();
    let nats = &office.voice.nats;
    let entry = LogEntry::Submitted {
        model: nats.put_object(&model).await?,
        parameters: nats.put_object(&parameters.encode()?).await?,
        spec: Box::new(spec),
        tensors: lengths,
        at_us: wall_us(),
    };
    office.voice.append(&job, &entry, Epoch(0), 0).await?;
    discover(office, &job).await?;
    tracing::info!("job {job} is submitted by {}", root_name());
    Ok(job)
}
