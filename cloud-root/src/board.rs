//! The jobs of a root as operators see them, and the way to each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fl_model::{Digest, JobId, ObjectRef};
use fl_round::RootRound;
use tokio::sync::{Notify, broadcast, mpsc};

use crate::job_view::{self, FAILED, JobEvent, JobView, RoundView};

/// Events that a slow watcher may lag behind.
const EVENTS_MAX: usize = 1024;

/// Commands that wait for a job.
const COMMANDS_MAX: usize = 8;

/// What operators ask of a job.
#[derive(Debug)]
pub(crate) enum Command {
    /// End it.
    Stop,
}

/// What is known of a job.
struct Known {
    view: JobView,
    submitted_us: u64,
    events: broadcast::Sender<JobEvent>,
    commands: mpsc::Sender<Command>,
    inbox: Option<mpsc::Receiver<Command>>,
    export: ExportInput,
    /// Objects that somebody may still ask for.
    objects: Vec<Digest>,
}

/// What an export of the model needs.
#[derive(Debug, Clone)]
pub(crate) struct ExportInput {
    pub(crate) model: ObjectRef,
    pub(crate) options: fl_model::ModelOptions,
    pub(crate) parameters: ObjectRef,
    pub(crate) inputs: fl_model::Inputs,
    pub(crate) normalization: Option<fl_model::Normalization>,
}

impl ExportInput {
    fn of(root: &RootRound) -> Self {
        Self {
            model: root.model(),
            options: root.spec().options.clone(),
            parameters: root.parameters(),
            inputs: root.spec().data.inputs.clone(),
            normalization: root.normalization().cloned(),
        }
    }
}

/// The jobs as the operators' endpoint shows them.
#[derive(Default)]
pub(crate) struct Board {
    jobs: Mutex<BTreeMap<JobId, Known>>,
    /// A job waits for its turn.
    came: Notify,
}

impl Board {
    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Known>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job up as its log tells it; one that is over for everybody is only shown.
    pub(crate) fn insert(
        &self,
        root: &RootRound,
        history: Vec<RoundView>,
        submitted_us: u64,
        over: bool,
    ) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let known = Known {
            view: job_view::job(root, false, history),
            submitted_us,
            events: broadcast::channel(EVENTS_MAX).0,
            commands,
            inbox: (!over).then_some(inbox),
            export: ExportInput::of(root),
            objects: objects(root),
        };
        self.jobs().entry(root.job().clone()).or_insert(known);
        self.came.notify_one();
    }

    /// Notes what a running job has done, and tells those who watch it.
    pub(crate) fn tell(&self, root: &RootRound, event: JobEvent) {
        let mut jobs = self.jobs();
        let Some(known) = jobs.get_mut(root.job()) else {
            return;
        };
        let mut history = std::mem::take(&mut known.view.history);
        if let JobEvent::Done(round) = &event {
            job_view::add_round(&mut history, (**round).clone());
        }
        known.view = job_view::job(root, true, history);
        known.export = ExportInput::of(root);
        known.objects = objects(root);
        // Nobody watching is no error.
        let _ = known.events.send(event);
    }

    /// Notes which objects a running job needs now, before those that it needs no more are swept away.
    pub(crate) fn note_objects(&self, root: &RootRound) {
        if let Some(known) = self.jobs().get_mut(root.job()) {
            known.objects = objects(root);
        }
    }

    /// Notes that a job cannot go on before the root starts again, and ends its watches.
    pub(crate) fn fail(&self, job: &JobId, reason: String) {
        if let Some(known) = self.jobs().get_mut(job) {
            known.view.state = FAILED.to_owned();
            known.view.reason = Some(reason);
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

    /// Whether somebody may still ask for that object.
    pub(crate) fn needs(&self, object: Digest) -> bool {
        let jobs = self.jobs();
        jobs.values().any(|known| known.objects.contains(&object))
    }

    /// The way to a job that is not over.
    pub(crate) fn commands(&self, job: &JobId) -> Option<mpsc::Sender<Command>> {
        self.jobs().get(job).map(|known| known.commands.clone())
    }

    /// The inbox of a job that waits for its turn: it is not taken up until it is given back.
    pub(crate) fn take(&self, job: &JobId) -> Option<mpsc::Receiver<Command>> {
        self.jobs().get_mut(job)?.inbox.take()
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, job: &JobId, inbox: mpsc::Receiver<Command>) {
        if let Some(known) = self.jobs().get_mut(job) {
            known.inbox = Some(inbox);
        }
        self.came.notify_one();
    }

    /// The oldest job that is not over, or whose end was not told yet, with its inbox; waits for one.
    pub(crate) async fn next(&self) -> (JobId, mpsc::Receiver<Command>) {
        loop {
            match self.take_next() {
                Some(next) => return next,
                None => self.came.notified().await,
            }
        }
    }

    fn take_next(&self) -> Option<(JobId, mpsc::Receiver<Command>)> {
        let mut jobs = self.jobs();
        let waiting = jobs.iter_mut().filter(|(_, known)| known.inbox.is_some());
        let (job, known) = waiting.min_by_key(|(_, known)| known.submitted_us)?;
        Some((job.clone(), known.inbox.take()?))
    }
}

fn objects(root: &RootRound) -> Vec<Digest> {
    root.objects().map(|object| object.digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RoundSettings;
    use crate::testing::{spec, submitted};

    #[test]
    fn what_a_job_needs_is_known_before_its_next_event() {
        let root = |parameters: &[u8]| {
            let mut entry = submitted(spec());
            if let fl_model::LogEntry::Submitted { parameters: of, .. } = &mut entry {
                *of = fl_model::ObjectRef::to(parameters);
            }
            RootRound::replay(RoundSettings::default().limits(), &[entry]).unwrap()
        };
        let board = Board::default();
        board.insert(&root(b"before"), Vec::new(), 0, false);
        let needs = |parameters: &[u8]| board.needs(Digest::of(parameters));
        assert!(needs(b"before"));
        board.note_objects(&root(b"after"));
        assert!(needs(b"after") && !needs(b"before"));
    }
}
