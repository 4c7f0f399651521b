//! Makes contributions, one at a time, away from the loop that talks.

mod reading;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fl_model::{
    Contribution, ContributionKey, DataSpec, Epoch, JobId, Payload, Phase, Reason, RoundKey,
    RoundPlan, TrainWork, Work,
};
use fl_telemetry::{DevicePhase, DeviceTrace, attr};
use fl_wire::{Encoded as _, LocalParameters, ParameterObject};
use onnx_train::{Model, local_parameters};

use super::downloads::Objects;
use super::identity::{About, Identity};
use super::rows::{RoundRows, Stamp};
use crate::data::LocalData;
use crate::ledger::{Ledger, LedgerError, Snapshot, Update};
use crate::say;
use crate::work::{Failure, View, Workshop, counters, protect, statistics, training_seed};
use reading::{data_again, fix_and_read};

/// The device's spans of a phase, while they grow.
pub(crate) type SharedTrace = Arc<Mutex<DeviceTrace>>;

/// Nothing is left half done by a panic that could poison it: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A phase's work, with all it needs.
pub(crate) struct Task {
    /// What is asked.
    pub(crate) plan: Box<RoundPlan>,
    /// The plan's model and parameters.
    pub(crate) objects: Objects,
    /// Set when it is not wanted any more.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Where its spans go, where they are kept.
    pub(crate) trace: Option<SharedTrace>,
}

/// What became of a task.
#[derive(Debug)]
pub(crate) enum Done {
    /// Its contribution is stored durably.
    Stored(RoundKey),
    /// There is none.
    Failed(RoundKey, Failure),
    /// It was not wanted any more.
    Cancelled(RoundKey),
}

/// The device's bench: data, sessions and ledger.
pub(crate) struct Worker {
    identity: Arc<Identity>,
    ledger: Arc<Mutex<Ledger>>,
    bench: Mutex<Bench>,
}

/// Whoever works holds it: rows are neither fixed nor removed meanwhile.
struct Bench {
    rows: RoundRows,
    workshop: Workshop,
    data: Option<HeldData>,
}

/// The rows of a round as they were read.
struct HeldData {
    job: JobId,
    round: u32,
    spec: DataSpec,
    stamp: Option<Stamp>,
    data: Arc<LocalData>,
}

/// What a model is given in a round.
struct Parameters {
    /// Those that travel, then the device's own.
    all: Vec<Vec<f32>>,
    /// How many travel.
    shared: usize,
    /// Names of the device's own.
    names: Vec<String>,
}

enum Stop {
    Failed(Failure),
    Cancelled,
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Failure::new(
            Reason::Quota,
            format!("this device cannot store its contribution: {error}"),
        )
    }
}

impl Worker {
    /// A bench without anything on it.
    pub(crate) fn new(
        identity: Arc<Identity>,
        ledger: Arc<Mutex<Ledger>>,
        rows: RoundRows,
    ) -> Self {
        Self {
            identity,
            ledger,
            bench: Mutex::new(Bench {
                rows,
                workshop: Workshop::default(),
                data: None,
            }),
        }
    }

    /// Makes a contribution and stores it. Blocks for as long as that takes, and until the task before
    /// has ended.
    pub(crate) fn perform(&self, task: &Task) -> Done {
        let key = task.plan.key.clone();
        let mut bench = lock(&self.bench);
        match self.make(&mut bench, task) {
            Ok(()) => Done::Stored(key),
            Err(Stop::Failed(failure)) => Done::Failed(key, failure),
            Err(Stop::Cancelled) => Done::Cancelled(key),
        }
    }

    fn make(&self, bench: &mut Bench, task: &Task) -> Result<(), Stop> {
        let plan = &*task.plan;
        task.check_wanted()?;
        task.begin(match plan.work {
            Work::Statistics => DevicePhase::Statistics,
            Work::Train(_) => DevicePhase::Train,
            Work::Evaluate(_) => DevicePhase::Evaluate,
        });
        let data = self.data(bench, plan)?;
        task.check_wanted()?;
        if let Some(counts) = bench.rows.counts() {
            task.attribute(|trace| {
                trace.attr(attr::SENSOR_ROWS, counts.received());
                trace.attr(attr::SENSOR_REFUSED, counts.refused());
                trace.attr(attr::SENSOR_RESTARTS, counts.restarts());
            });
        }
        match &plan.work {
            Work::Statistics => {
                let began = Instant::now();
                let of = statistics(&plan.data.inputs, &data.train)?;
                task.attribute(|trace| trace.attr(attr::EXAMPLES, of.rows));
                tracing::info!(
                    "{}: counted {} rows in {}",
                    say::place(&plan.key),
                    of.rows,
                    say::seconds(began.elapsed())
                );
                self.store(task, Payload::Statistics(of), None)
            }
            Work::Train(work) => self.train(bench, task, work, &data),
            Work::Evaluate(work) => {
                let began = Instant::now();
                let view = View {
                    data: &plan.data,
                    normalization: &work.normalization,
                    loss: work.loss,
                    options: &plan.options,
                };
                let parameters = self.parameters(task)?;
                let model = &task.objects.model;
                let evaluation =
                    bench
                        .workshop
                        .evaluate(model, view, &data.test, &parameters.all)?;
                let counters = counters(&evaluation)?;
                tracing::info!(
                    "{}: tested {} examples in {}, {}",
                    say::place(&plan.key),
                    counters.examples,
                    say::seconds(began.elapsed()),
                    say::scores(evaluation.loss(), evaluation.accuracy())
                );
                self.store(task, Payload::Evaluation(counters), None)
            }
        }
    }

    fn train(
        &self,
        bench: &mut Bench,
        task: &Task,
        work: &TrainWork,
        data: &LocalData,
    ) -> Result<(), Stop> {
        let (plan, key) = (&*task.plan, &task.plan.key);
        let examples = data.train.len() as u64;
        crate::work::check_weight(work, examples)?;
        let view = View {
            data: &plan.data,
            normalization: &work.normalization,
            loss: work.training.loss,
            options: &plan.options,
        };
        let seed = training_seed(&key.job, key.round, &self.identity.device, work.seed);
        let Parameters { all, shared, names } = self.parameters(task)?;
        let began = Instant::now();
        let model = &task.objects.model;
        let mut trained =
            bench
                .workshop
                .train(model, &work.training, view, &data.train, &all, seed)?;
        let local = LocalParameters {
            tensors: trained.parameters.split_off(shared),
            names,
        };
        tracing::info!(
            "{}: trained {examples} examples in {}, loss {:.4}",
            say::place(key),
            say::seconds(began.elapsed()),
            trained.loss
        );
        task.attribute(|trace| {
            trace.attr(attr::EXAMPLES, examples);
            trace.attr(attr::EPOCHS, work.training.local_epochs);
            trace.attr(attr::LOSS, trained.loss);
        });
        task.check_wanted()?;
        task.begin(DevicePhase::Protect);
        // One hold from reading the residual to storing what takes it: an outcome may come meanwhile.
        let mut ledger = lock(&self.ledger);
        let residual = ledger.residual(&key.job, &plan.model.digest);
        let protected = protect(work, &all[..shared], &trained, residual)?;
        task.attribute(|trace| {
            trace.attr(attr::NORM, protected.norm);
            trace.attr(attr::NORM_LIMIT, work.clip_norm);
        });
        let payload = Payload::Update {
            update: protected.update,
            metrics: protected.metrics,
        };
        let update = Update {
            model: plan.model.digest,
            grid: work.grid.clone(),
            coordinates: protected.coordinates,
            local,
        };
        self.store_in(&mut ledger, task, payload, Some(update))
    }

    /// The plan's parameters, and behind them those that this device keeps for itself.
    fn parameters(&self, task: &Task) -> Result<Parameters, Failure> {
        let plan = &*task.plan;
        let mut all = task.parameters()?.tensors;
        let shared = all.len();
        let mut names = Vec::new();
        if !plan.options.local.is_empty() {
            let model = Model::new(&task.objects.model, &plan.options);
            let first = local_parameters(model, plan.draw)?;
            let kept = lock(&self.ledger).local(&plan.key.job, &plan.model.digest);
            let kept = kept.map_err(|error| {
                let detail = format!("this device cannot read its own parameters: {error}");
                Failure::new(Reason::Quota, detail)
            })?;
            let (own, values): (Vec<String>, Vec<Vec<f32>>) =
                first.into_iter().map(|own| (own.name, own.value)).unzip();
            let kept = kept.filter(|kept| kept.names == own);
            all.extend(kept.map_or(values, |kept| kept.tensors));
            names = own;
        }
        Ok(Parameters { all, shared, names })
    }

    fn store(&self, task: &Task, payload: Payload, update: Option<Update>) -> Result<(), Stop> {
        task.check_wanted()?;
        task.begin(DevicePhase::Protect);
        self.store_in(&mut lock(&self.ledger), task, payload, update)
    }

    fn store_in(
        &self,
        ledger: &mut Ledger,
        task: &Task,
        payload: Payload,
        update: Option<Update>,
    ) -> Result<(), Stop> {
        let plan = &*task.plan;
        let contribution = Contribution {
            key: ContributionKey {
                round: plan.key.clone(),
                device: self.identity.device.clone(),
            },
            payload,
        };
        let about = About {
            round: Some(&plan.key),
            epoch: plan.epoch,
            trace: Some(self.identity.device_span(&plan.trace)),
        };
        let sealed = self.identity.seal(&contribution, &about);
        let sealed = sealed.map_err(|error| Failure::new(Reason::Oversized, error))?;
        ledger
            .store(&plan.key, sealed, update)
            .map_err(Failure::from)?;
        task.end();
        Ok(())
    }

    /// A phase is over, whatever became of it: after a round's last, its rows are not wanted again; the statistics
    /// are a round of their own. Waits for the task in progress and for the disk, as [`Worker::job_over`] and
    /// [`Worker::tidy`] do.
    pub(crate) fn over(&self, key: &RoundKey) {
        if key.phase != Phase::Train {
            let mut bench = lock(&self.bench);
            let noted = self.noted();
            bench.rows.release(&key.job, key.round.0, noted.as_ref());
        }
    }

    /// A job is over: so is every round of it. A task of it that was cancelled has ended by then, and left the rows
    /// that it may have fixed.
    pub(crate) fn job_over(&self, job: &JobId) {
        let mut bench = lock(&self.bench);
        bench.rows.job_over(job, self.noted().as_ref());
    }

    /// After a start: removes rows of which the ledger says that their round is over, or nothing at all.
    pub(crate) fn tidy(&self) {
        let mut bench = lock(&self.bench);
        let last = lock(&self.ledger).last().cloned();
        let is_over = |noted: &Snapshot| {
            last.is_some_and(|last| {
                let (is_job, round) = (last.job.as_str() == noted.job, last.round.0);
                let is_last = round == noted.round && last.phase != Phase::Train;
                is_job && (round > noted.round || is_last)
            })
        };
        if self.noted().is_none_or(|noted| is_over(&noted)) {
            bench.rows.remove();
        }
    }

    fn noted(&self) -> Option<Snapshot> {
        lock(&self.ledger).last_snapshot().cloned()
    }

    /// The rows of the plan's round: fixed and read once, when the round begins here, and read again as
    /// they were after a restart in its middle.
    fn data(&self, bench: &mut Bench, plan: &RoundPlan) -> Result<Arc<LocalData>, Failure> {
        let (job, round) = (&plan.key.job, plan.key.round.0);
        let held = bench.data.take().filter(|held| held.spec == plan.data);
        let of_round = |held: &HeldData| held.job == *job && held.round == round;
        let held = match held {
            Some(held) if of_round(&held) => bench.data.insert(held),
            held => {
                let noted = lock(&self.ledger).snapshot(job, round).cloned();
                let (data, stamp) = match noted {
                    Some(noted) => (data_again(&mut bench.rows, &noted, plan)?, None),
                    None => self.new_data(&mut bench.rows, held, plan)?,
                };
                bench.data.insert(HeldData {
                    job: job.clone(),
                    round,
                    spec: plan.data.clone(),
                    stamp,
                    data,
                })
            }
        };
        Ok(held.data.clone())
    }

    /// Fixes the rows of a round that begins, and remembers which they are. Those of the round before are
    /// not read again where nothing has changed.
    fn new_data(
        &self,
        rows: &mut RoundRows,
        held: Option<HeldData>,
        plan: &RoundPlan,
    ) -> Result<(Arc<LocalData>, Option<Stamp>), Failure> {
        let (job, round) = (&plan.key.job, plan.key.round.0);
        let (fixed, data) = fix_and_read(rows, held.as_ref(), plan)
            .inspect_err(|_| rows.release(job, round, None))?;
        let snapshot = Snapshot::new(job, round, &data.digest, fixed.extent);
        lock(&self.ledger).save_snapshot(snapshot)?;
        Ok((data, fixed.stamp))
    }
}

impl Task {
    fn check_wanted(&self) -> Result<(), Stop> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(Stop::Cancelled),
            false => Ok(()),
        }
    }

    fn parameters(&self) -> Result<ParameterObject, Failure> {
        let object = ParameterObject::decode(&self.objects.parameters);
        object.map_err(|error| Failure::new(Reason::ModelUnusable, error))
    }

    fn begin(&self, phase: DevicePhase) {
        self.attribute(|trace| trace.begin(phase));
    }

    fn end(&self) {
        self.attribute(DeviceTrace::end);
    }

    fn attribute(&self, change: impl FnOnce(&mut DeviceTrace)) {
        if let Some(trace) = &self.trace {
            change(&mut lock(trace));
        }
    }
}

/// The epoch under which messages outside of a plan go.
pub(crate) fn epoch(ledger: &Mutex<Ledger>) -> Epoch {
    lock(ledger).epoch()
}

#[cfg(test)]
mod tests;
