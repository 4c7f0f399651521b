//! The shell around one job's state machine: feeds it what arrives, carries out what it asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fl_model::{Epoch, JobEnd, JobId, LogEntry, PhaseResult, RegionId, Work};
use fl_round::{MergeInput, PhaseRecord, RootEffect, RootEvent, RootRound, RoundRecord};
use fl_runtime::nats::{Follower, From, Stream};
use fl_telemetry::{region::Transfer, wall_us};
use fl_wire::subjects::{job_partials_filter, partials_filter};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, watch};

use crate::board::Command;
use crate::intake::Intake;
use crate::job_view::{self, JobEvent};
use crate::merge;
use crate::office::Office;
use crate::patience::until_answered;
use crate::roster::RosterFile;
use crate::trace::{self, RoundTimes};

/// A running job.
pub(crate) struct Runner {
    root: RootRound,
    sequence: u64,
    times: RoundTimes,
    office: Arc<Office>,
    intake: Intake,
    follower: Follower,
    roster: watch::Receiver<Arc<RosterFile>>,
    beats: broadcast::Receiver<(RegionId, u32)>,
    commands: mpsc::Receiver<Command>,
    reconnects: watch::Receiver<u64>,
}

impl Runner {
    /// A job as its log tells it; `sequence` is its last entry's place in the stream.
    pub(crate) fn new(
        root: RootRound,
        sequence: u64,
        office: Arc<Office>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let filter = job_partials_filter(root.job());
        let follower = office
            .voice
            .nats
            .follow(Stream::Partials, vec![filter], From::Beginning);
        Self {
            sequence,
            times: RoundTimes::default(),
            intake: Intake::new(office.clone()),
            follower,
            roster: office.roster.clone(),
            beats: office.beats.subscribe(),
            commands,
            reconnects: office.voice.nats.reconnects(),
            root,
            office,
        }
    }

    /// Runs the job to its end, or until this future is dropped.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let regions = self.roster.borrow_and_update().regions();
        self.step(RootEvent::Regions(regions)).await?;
        self.root.outrank(self.office.epoch_max());
        self.step(RootEvent::Started).await?;
        self.office.saw_epoch(self.root.epoch());
        while !self.is_over() {
            let event = self.next_event().await?;
            if let Some(event) = event {
                self.step(event).await?;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        matches!(self.root.stage(), fl_round::RootStage::Ended(_))
    }

    /// Ends a job that waits for its turn.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.step(RootEvent::Stop).await
    }

    async fn next_event(&mut self) -> anyhow::Result<Option<RootEvent>> {
        let clock = self.office.clock;
        // While the bus is away nobody is late: what is due waits until it is back.
        let connected = self.office.voice.nats.is_back();
        let timeout = self.root.next_timeout().filter(|_| connected);
        let wake = async {
            match timeout {
                Some(timeout) => clock.sleep_until_ms(timeout.at).await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            message = self.follower.next() => self.intake.receive(&self.root, &message),
            fetched = self.intake.fetched() => fetched?,
            beat = self.beats.recv() => match beat {
                Ok((region, online)) => Some(RootEvent::Beat(region, online)),
                // Beats that were missed are followed by newer ones.
                Err(_) => None,
            },
            changed = self.roster.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                let regions = self.roster.borrow_and_update().regions();
                Some(RootEvent::Regions(regions))
            }
            command = self.commands.recv() => match command {
                Some(Command::Stop) => Some(RootEvent::Stop),
                None => std::future::pending().await,
            },
            Ok(()) = self.reconnects.changed() => Some(RootEvent::Reconnected),
            () = wake => {
                let connected = self.office.voice.nats.is_back();
                connected.then_some(RootEvent::Timeout)
            }
        })
    }

    /// Feeds one event, and whatever comes of it, before the next is looked at.
    async fn step(&mut self, event: RootEvent) -> anyhow::Result<()> {
        let mut events = VecDeque::from([event]);
        while !events.is_empty() {
            self.office.voice.nats.until_back().await;
            let beats = self.unheard_beats();
            let reconnected = self.reconnects.has_changed().unwrap_or(false);
            if reconnected {
                self.reconnects.mark_unchanged();
            }
            hear_first(&mut events, beats, reconnected);
            let Some(event) = events.pop_front() else {
                break;
            };
            let now = self.office.clock.now_ms();
            let key = self.office.voice.key.verifying_key();
            let trace_of = |job: &JobId, round| trace::derive(&key, job, round);
            let effects = self.root.handle(event, now, wall_us(), trace_of);
            for effect in effects {
                self.carry_out(effect, &mut events).await?;
            }
        }
        Ok(())
    }

    /// Beats that came while something else was done: a fog is not silent because nobody listened.
    fn unheard_beats(&mut self) -> Vec<RootEvent> {
        let mut beats = Vec::new();
        loop {
            match self.beats.try_recv() {
                Ok((region, online)) => beats.push(RootEvent::Beat(region, online)),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return beats,
            }
        }
    }

    async fn carry_out(
        &mut self,
        effect: RootEffect,
        events: &mut VecDeque<RootEvent>,
    ) -> anyhow::Result<()> {
        match effect {
            RootEffect::Append(entry) => events.push_front(self.append(entry).await?),
            RootEffect::PublishPlan(plan, regions) => {
                let key = plan.key.clone();
                let start_us = wall_us();
                let bytes = self.office.voice.plan(&plan, &regions).await?;
                let resumed = self.times.plan.is_some();
                if key.phase != fl_model::Phase::Evaluate && !resumed {
                    self.times.plan = Some(Transfer {
                        start_us,
                        end_us: wall_us(),
                        bytes,
                        ..Transfer::default()
                    });
                }
                if key.phase != fl_model::Phase::Evaluate
                    && let Some(trace) = trace::of_round(self.root.record(), &self.times)
                {
                    self.office
                        .exporter
                        .send([trace.open_span(&self.office.identity)]);
                }
                tracing::info!("round {} of {}: {} opened", key.round, key.job, key.phase);
                self.tell(job_view::opened(key.round.0, key.phase));
            }
            RootEffect::FetchPartial(key, region, object) => {
                self.intake.restore(key, region, object);
            }
            RootEffect::RefusePartial(region, digest, refusal) => {
                self.intake.refused(&region, digest, refusal);
            }
            RootEffect::Merge(input) => events.push_back(self.merge(&input).await?),
            RootEffect::PublishSettled(phase) => self.settle(&phase).await?,
            RootEffect::RoundDone(record) => self.round_done(&record),
            RootEffect::Waiting { online, quorum } => {
                tracing::info!(
                    "{}: {online} of {quorum} needed devices are connected: waiting",
                    self.root.job()
                );
                self.tell(JobEvent::Waiting { online, quorum });
            }
            RootEffect::Ended(how) => {
                let regions: Vec<_> = self.roster.borrow().regions_ever().into_iter().collect();
                self.office
                    .voice
                    .clear_plan(self.root.job(), &regions)
                    .await?;
                self.office.mark_ended(self.root.job());
                self.sweep_retired();
                let job = self.root.job();
                match how {
                    JobEnd::Failed(failure) => tracing::error!("job {job} has failed: {failure}"),
                    how => tracing::info!("job {job} is {}", job_view::end(how)),
                }
                self.tell(JobEvent::Ended {
                    how: job_view::end(how).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn tell(&self, event: JobEvent) {
        self.office.board.tell(&self.root, event);
    }

    async fn append(&mut self, entry: LogEntry) -> anyhow::Result<RootEvent> {
        let epoch = match &entry {
            LogEntry::Led { epoch, .. } => *epoch,
            _ => Epoch(self.root.epoch().0),
        };
        let job = self.root.job().clone();
        if let LogEntry::Opened { plan, .. } = &entry
            && plan.key.round != self.root.record().round
        {
            self.times = RoundTimes::default();
        }
        let appended = self
            .office
            .voice
            .append(&job, &entry, epoch, self.sequence)
            .await;
        self.sequence = appended?;
        match &entry {
            LogEntry::PartialAccepted {
                key,
                region,
                summary,
                ..
            } => {
                if key.phase != fl_model::Phase::Evaluate {
                    self.times.accepted_us.insert(region.to_string(), wall_us());
                }
                self.tell(JobEvent::Accepted {
                    round: key.round.0,
                    phase: key.phase.to_string(),
                    region: region.to_string(),
                    devices: summary.contributors,
                });
            }
            LogEntry::Settled { .. } | LogEntry::Closed { .. } => {
                self.times.recorded_us = Some(wall_us());
            }
            _ => {}
        }
        Ok(RootEvent::Committed(entry))
    }

    async fn merge(&mut self, input: &MergeInput) -> anyhow::Result<RootEvent> {
        let nats = &self.office.voice.nats;
        let trains = matches!(input.plan.work, Work::Train(_));
        let parameters = match trains {
            true => Some(self.office.object(&input.plan.parameters).await?),
            false => None,
        };
        let moments = match &input.moments {
            Some(object) if trains => Some(self.office.object(object).await?),
            _ => None,
        };
        let spec = self.root.spec();
        let key = input.plan.key.clone();
        let merged = merge::merge(spec, input, parameters.as_deref(), moments.as_deref());
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                let Some(failure) = merge::failure(&error) else {
                    return Err(error.context(format!("merge of {key}")));
                };
                tracing::error!("merge of {key}: {error:#}");
                return Ok(RootEvent::MergeFailed(key, failure));
            }
        };
        if trains {
            self.times.merged_us = Some(wall_us());
        }
        let start_us = wall_us() + 2;
        let sweep = &self.office.sweep;
        for object in &merged.objects {
            // Held for one attempt only: where the bucket is full, the sweep has to make room.
            until_answered(|| async {
                let _kept = sweep.keep(&merged.objects).await;
                nats.put_object(object).await
            })
            .await?;
        }
        if let PhaseResult::Train { parameters, .. } = &merged.result {
            self.times.model = Some(Transfer {
                start_us,
                end_us: wall_us().max(start_us + 1),
                bytes: parameters.bytes,
                ..Transfer::default()
            });
        }
        Ok(RootEvent::Merged(
            input.plan.key.clone(),
            Box::new(merged.result),
        ))
    }

    /// Tells the regions, then lets the partials go: the log names them.
    async fn settle(&mut self, phase: &PhaseRecord) -> anyhow::Result<()> {
        let trace = trace::of_round(self.root.record(), &self.times);
        self.office
            .voice
            .settled(phase, trace.as_ref(), self.root.epoch())
            .await?;
        self.intake.forget();
        self.office.sweep.partials(partials_filter(&phase.key));
        self.sweep_retired();
        Ok(())
    }

    /// Lets go of the objects that the job needs no more.
    fn sweep_retired(&mut self) {
        self.office.board.note_objects(&self.root);
        self.office.sweep.objects(self.root.take_retired());
    }

    fn round_done(&mut self, record: &RoundRecord) {
        let office = &self.office;
        let (times, told) = std::mem::take(&mut self.times).kept(&office.home, record);
        office
            .exporter
            .send(trace::spans(record, &times, &office.identity));
        let Some(view) = job_view::round(record) else {
            return;
        };
        let outcome = if view.outcome == "merged" {
            "merged"
        } else {
            "no_quorum"
        };
        office.metrics.round_current(view.round);
        office.metrics.model(view.accuracy, view.loss);
        if !told {
            let seconds = Duration::from_secs_f64(view.seconds);
            office.metrics.round_ended(outcome, seconds);
            tracing::info!("{}", job_view::line(&view));
        }
        self.tell(JobEvent::Done(Box::new(view)));
    }
}

/// Puts what was not heard yet before what waits, and before all else that the bus is back: an entry may
/// have waited for it longer than a fog may be silent, or a phase may last, and any event closes what is over.
fn hear_first(events: &mut VecDeque<RootEvent>, beats: Vec<RootEvent>, reconnected: bool) {
    let is_first = events.front() == Some(&RootEvent::Reconnected);
    if is_first {
        events.pop_front();
    }
    for beat in beats.into_iter().rev() {
        events.push_front(beat);
    }
    if is_first || reconnected {
        events.push_front(RootEvent::Reconnected);
    }
}

#[cfg(test)]
mod tests {
    use fl_model::TraceContext;

    use super::*;
    use crate::testing::{opened, region};

    /// Whether the watch of the connection, or a beat, or the log's answer is heard first.
    #[test]
    fn a_phase_whose_time_ran_out_while_the_bus_was_away_stays_open() {
        let beat = || RootEvent::Beat(region("north"), 1);
        let check = |event: RootEvent, beats: Vec<RootEvent>, reconnected| {
            let (mut root, _) = opened();
            let late = Duration::from_hours(1).as_millis() as u64;
            let heard = beats.len();
            let mut events = VecDeque::from([event]);
            hear_first(&mut events, beats, reconnected);
            let beats = events.iter().filter(|event| **event == beat());
            assert!(beats.count() >= heard, "no beat is lost: {events:?}");
            for event in events {
                let told = format!("{event:?}");
                let effects = root.handle(event, late, 1, |_, _| TraceContext::default());
                assert_eq!(effects, [], "{told}");
            }
        };
        check(RootEvent::Reconnected, vec![beat(), beat()], false);
        check(RootEvent::Reconnected, vec![beat()], true);
        check(beat(), vec![], true);
        check(RootEvent::Timeout, vec![beat()], true);
    }
}
