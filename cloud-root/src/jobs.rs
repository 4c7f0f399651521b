//! A job's way into a running root: submitted, or read from its log.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use fl_model::{Epoch, EvaluationCounters, JobId, LogEntry, ObjectRef, PhaseResult};
use fl_round::{RootRound, RootStage};
use fl_runtime::nats::{StoredMessage, Stream};
use fl_telemetry::wall_us;
use fl_wire::limits::LOG_ENTRY_BYTES_MAX;
use fl_wire::subjects::{LOG_SUBJECTS, Subject};
use fl_wire::{
    Encoded as _, Envelope, Expected, MessageKind, ParameterObject, SigningKey, WireError,
};
use onnx_train::Model;
use tokio::sync::mpsc;

use crate::api::Submitted;
use crate::board::Command;
use crate::home::root_name;
use crate::job_view::{self, RoundView};
use crate::models::ModelStore;
use crate::office::Office;
use crate::patience::until_answered;
use crate::publish::{NotLeader, sign, sign_plan};
use crate::runner::Runner;
use crate::settings::RoundSettings;

/// A job read from its log.
pub(crate) struct Replayed {
    pub(crate) root: RootRound,
    pub(crate) sequence: u64,
    history: Vec<RoundView>,
    submitted_us: u64,
}

/// The jobs that have a log.
pub(crate) async fn logged(office: &Office) -> anyhow::Result<Vec<JobId>> {
    let nats = &office.voice.nats;
    let subjects = until_answered(|| nats.subjects(Stream::Log, LOG_SUBJECTS)).await?;
    let job = |subject: &String| match subject.parse() {
        Ok(Subject::Log(job)) => Some(job),
        _ => None,
    };
    Ok(subjects.iter().filter_map(job).collect())
}

/// Reads a job's log; none where there is no such job.
pub(crate) async fn replay(office: &Office, job: &JobId) -> anyhow::Result<Option<Replayed>> {
    let subject = Subject::Log(job.clone()).to_string();
    let nats = &office.voice.nats;
    let messages = until_answered(|| nats.read_all(Stream::Log, &subject)).await?;
    let read = |message: &StoredMessage| {
        read_entry(office, &message.payload, job).with_context(|| {
            let sequence = message.sequence;
            format!(
                "entry {sequence} of the log of {job} cannot be read; where another version of cloud-root wrote it, \
                 that one can go on with the job"
            )
        })
    };
    // To the last, also behind one that cannot be read: each has an epoch.
    let entries: Vec<_> = messages.iter().map(read).collect();
    let entries: Vec<LogEntry> = entries.into_iter().collect::<Result<_, _>>()?;
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
            job_view::add_round(&mut history, view);
        }
    }
    Ok(Some(Replayed {
        sequence: messages.last().map_or(0, |message| message.sequence),
        submitted_us: *at_us,
        root,
        history,
    }))
}

/// Opens an entry. Its epoch counts whether the body can be read or not: fogs and devices have seen it, and
/// refuse the plans of a root that leads in a lower one. A header of another version of the protocol tells
/// nothing, not even its epoch.
fn read_entry(office: &Office, bytes: &[u8], job: &JobId) -> Result<LogEntry, WireError> {
    let key = office.voice.key.verifying_key();
    let verified = Envelope::parse(bytes, LOG_ENTRY_BYTES_MAX)?.verify(&key)?;
    verified.check(&Expected::kind(MessageKind::LogEntry).in_job(job))?;
    office.saw_epoch(verified.header().epoch);
    verified.open()
}

/// Takes a job up that the log names, if it is not known yet.
pub(crate) async fn discover(office: &Office, job: &JobId) -> anyhow::Result<()> {
    if office.board.show(job).is_some() {
        return Ok(());
    }
    if let Some(mut replayed) = replay(office, job).await? {
        let ended = matches!(replayed.root.stage(), RootStage::Ended(_));
        let over = ended && office.home.ended_file(job).exists();
        office.sweep.objects(replayed.root.take_retired());
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
pub(crate) async fn submit(office: &Office, text: &str, place: &str) -> anyhow::Result<Submitted> {
    let spec = fl_runtime::job_file::parse(text, place)?;
    let job = spec.job.clone();
    // One at a time, and no object is taken away that the job shares with another.
    let _alone = office.sweep.keep(&[]).await;
    if office.board.show(&job).is_some() {
        bail!("a job called {job} was submitted before: take another name");
    }
    let model = ModelStore::of(&office.home).load(&spec.model)?;
    let taken = Model::new(&model, &spec.options);
    onnx_train::check_model(taken, &spec.training, &spec.data)
        .with_context(|| format!("model {} does not fit job {job}", spec.model))?;
    let draw = spec.randomize.then_some(spec.seed);
    let mut tensors = onnx_train::starting_parameters(taken, draw)?;
    let layout = onnx_train::parameter_layout(taken)?;
    // Each device keeps the others for itself.
    tensors.truncate(layout.len());
    let parts = onnx_train::partition(taken)?;
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
    let parameters = parameters.encode()?;
    let entry = LogEntry::Submitted {
        model: ObjectRef::to(&model),
        parameters: ObjectRef::to(&parameters),
        spec: Box::new(spec),
        tensors: lengths,
        at_us: wall_us(),
    };
    check_sizes(&entry, &office.voice.key)?;
    for object in [&model, &parameters] {
        office.sweep.forget(ObjectRef::to(object).digest);
        office.voice.nats.put_object(object).await?;
    }
    let appended = office.voice.append(&job, &entry, Epoch(0), 0).await;
    if appended
        .as_ref()
        .is_err_and(|error| error.is::<NotLeader>())
    {
        bail!("the log holds a job called {job} already: take another name");
    }
    appended?;
    discover(office, &job).await?;
    tracing::info!("job {job} is submitted by {}: {parts}", root_name());
    Ok(Submitted {
        job: job.to_string(),
        parts: (!parts.is_whole()).then(|| parts.to_string()),
    })
}

/// Refuses a job whose messages would outgrow their bounds later, when its devices are at work.
fn check_sizes(submitted: &LogEntry, key: &SigningKey) -> anyhow::Result<()> {
    let LogEntry::Submitted { spec, .. } = submitted else {
        return Ok(());
    };
    let limits = RoundSettings::default().limits();
    let plan = RootRound::replay(limits, std::slice::from_ref(submitted))?.largest_plan();
    sign_plan(&plan, key).with_context(|| {
        format!("the plans of job {} do not fit into a message: shorten its names of columns and categories, or take a model with fewer tensors", spec.job)
    })?;
    let outgrown = || {
        format!(
            "the log of job {} would outgrow its entries: take fewer classes, or a model with fewer tensors",
            spec.job
        )
    };
    let classes = spec.data.label.classes().unwrap_or(0);
    // Every counter takes a byte at least.
    if classes.saturating_mul(classes) > LOG_ENTRY_BYTES_MAX {
        bail!(outgrown());
    }
    let counters = EvaluationCounters {
        confusion: vec![u64::MAX; classes * classes],
        ..EvaluationCounters::default()
    };
    let evaluated = LogEntry::Settled {
        key: plan.key.clone(),
        result: Box::new(PhaseResult::Evaluate(counters)),
        at_us: u64::MAX,
    };
    for entry in [submitted, &evaluated] {
        sign(entry, &spec.job, plan.epoch, key).with_context(outgrown)?;
    }
    Ok(())
}

/// Ends a job: one that runs at the next thing that happens to it, one that waits for its turn at once.
pub(crate) async fn stop(office: &Arc<Office>, job: &JobId) -> anyhow::Result<()> {
    let Some(inbox) = office.board.take(job) else {
        let commands = office.board.commands(job);
        let commands = commands.with_context(|| format!("job {job} is not known"))?;
        let sent = commands.try_send(Command::Stop);
        return sent.map_err(|_| anyhow!("job {job} is stopping already"));
    };
    // Whoever asked may go; the job is stopped, or back in its place.
    let (office, job) = (office.clone(), job.clone());
    let stopping = tokio::spawn(async move {
        let stopped = stop_waiting(&office, &job).await;
        if stopped.is_err() {
            office.board.give_back(&job, inbox);
        }
        stopped
    });
    stopping.await?
}

async fn stop_waiting(office: &Arc<Office>, job: &JobId) -> anyhow::Result<()> {
    let replayed = replay(office, job).await?;
    let replayed = replayed.with_context(|| format!("the log of {job} is gone"))?;
    let (_, commands) = mpsc::channel(1);
    Runner::new(replayed.root, replayed.sequence, office.clone(), commands)
        .stop()
        .await
}

#[cfg(test)]
mod tests {
    use fl_model::{Feature, FeatureSpec, Label};

    use super::*;
    use crate::testing::{spec, submitted};

    #[test]
    fn a_job_whose_messages_would_outgrow_their_bounds_is_refused_with_the_bound() {
        let check = |change: &dyn Fn(&mut LogEntry), expected: &[&str]| {
            let mut entry = submitted(spec());
            change(&mut entry);
            let checked = check_sizes(&entry, &SigningKey::from_bytes(&[1; 32]));
            let message = checked.err().map_or_else(String::new, |e| format!("{e:#}"));
            assert_eq!(message.is_empty(), expected.is_empty(), "{message}");
            for part in expected {
                assert!(message.contains(part), "no {part:?} in {message}");
            }
        };
        let with = |change: fn(&mut fl_model::JobSpec)| {
            move |entry: &mut LogEntry| {
                if let LogEntry::Submitted { spec, .. } = entry {
                    change(spec);
                }
            }
        };
        check(&|_| {}, &[]);
        let categories = with(|spec| {
            let street = Feature::Categorical {
                column: "street".into(),
                categories: (0..9_000).map(|n| format!("street number {n}")).collect(),
            };
            let features = vec![street];
            spec.data.inputs = FeatureSpec {
                features,
                clip: 5.0,
            }
            .into();
        });
        check(&categories, &["plans of job", "names of columns", "65536"]);
        let classes = with(|spec| {
            spec.data.label = Label::Class {
                column: "kind".into(),
                classes: (0..150).map(|n| n.to_string()).collect(),
            };
        });
        check(&classes, &["log of job", "fewer classes", "131072"]);
        let tensors = |entry: &mut LogEntry| {
            if let LogEntry::Submitted { tensors, .. } = entry {
                *tensors = vec![u64::MAX; 20_000];
            }
        };
        check(&tensors, &["job", "fewer tensors", "131072"]);
    }
}
