//! The shell of a root: the log, the merge, what it publishes.

use std::collections::VecDeque;

use fl_aggregate::ServerStep;
use fl_model::{LogEntry, PhaseResult, RegionId, Sum, TraceContext, Work};
use fl_round::{MergeInput, Millis, PartialRefusal, PhaseRecord, RootEffect, RootEvent, RootRound};

use crate::host::{Host, Life};
use crate::nats::{DownMessage, Nats};
use crate::scenario::{ProcessId, Scenario};
use crate::world::{Action, Event, World};

/// Of a message through NATS.
const DELAY_MS: (u64, u64) = (1, 30);
/// Until a merge is done.
const MERGE_MS: (u64, u64) = (1, 200);
/// Until something is tried again that NATS did not take.
const RETRY_MS: Millis = 50;

/// What a root's shell has to do: an effect, or a part of one between which it may be killed.
#[derive(Debug)]
pub(crate) enum RootTask {
    Effect(RootEffect),
    Down(RegionId, DownMessage),
}

#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) host: Host<RootRound, RootEvent, RootTask>,
    /// Entries of the log that it knows.
    known: usize,
    /// Partials of the stream that it has read, in this life.
    cursor: usize,
    pulling: bool,
}

impl Root {
    pub(crate) fn new() -> Self {
        Self {
            host: Host::new(),
            known: 0,
            cursor: 0,
            pulling: false,
        }
    }
}

impl World {
    pub(crate) fn start_root(&mut self, root: usize) {
        // The simulation wrote the submission itself.
        #[expect(clippy::unwrap_used, reason = "the log begins with a submission")]
        let machine = RootRound::replay(Scenario::ROOT, &self.nats.log).unwrap();
        let regions = self.fogs.iter();
        let regions = regions.map(|(region, fog)| (region.clone(), fog.devices.len() as u32));
        let mut first = VecDeque::from([RootEvent::Started, RootEvent::Regions(regions.collect())]);
        if self.random.chance(500) {
            first.swap(0, 1);
        }
        let state = &mut self.roots[root];
        state.host.start(machine);
        state.host.inbox = first;
        state.known = self.nats.log.len();
        state.cursor = 0;
        state.pulling = false;
        self.wake_puller(root);
    }

    /// Says whether an effect was carried out.
    pub(crate) fn step_root(&mut self, root: usize) -> bool {
        let now = self.now;
        if let Some(task) = self.roots[root].host.tasks.pop_front() {
            // Everything that a root does goes through NATS.
            if self.roots[root].host.is_cut(now) {
                self.roots[root].host.tasks.push_front(task);
                return false;
            }
            self.tell(|| format!("root{root} {}", brief(&task)));
            self.root_task(root, task);
            return true;
        }
        let state = &mut self.roots[root];
        let clock = state.host.clock(now);
        if let (Some(machine), Some(event)) =
            (&mut state.host.machine, state.host.inbox.pop_front())
        {
            let committed = matches!(event, RootEvent::Committed(_));
            let effects = machine.handle(event, clock, now, |_, _| TraceContext::default());
            let tasks = effects.into_iter().map(RootTask::Effect);
            state.host.tasks.extend(tasks);
            if committed && state.known == self.nats.log.len() {
                self.check_fold(root);
            }
        }
        false
    }

    fn root_task(&mut self, root: usize, task: RootTask) {
        let life = self.roots[root].host.life;
        match task {
            RootTask::Down(region, message) => self.publish_down(&region, message),
            RootTask::Effect(RootEffect::Append(entry)) => self.append(root, entry),
            RootTask::Effect(RootEffect::PublishPlan(plan, regions)) => {
                self.check_plan(&plan);
                let tasks = &mut self.roots[root].host.tasks;
                for region in regions.into_iter().rev() {
                    tasks.push_front(RootTask::Down(region, DownMessage::Plan(plan.clone())));
                }
            }
            RootTask::Effect(RootEffect::FetchPartial(_, _, signed)) => {
                if let Some(stored) = self.nats.partial(signed.digest) {
                    let event = partial_event(stored);
                    let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
                    self.event_after(wait, life, Event::Root(root, event));
                }
            }
            RootTask::Effect(RootEffect::RefusePartial(region, _, refusal)) => {
                self.ensure(refusal == PartialRefusal::NotOpen, || {
                    format!("an honest partial of {region} was refused: {refusal}")
                });
            }
            RootTask::Effect(RootEffect::Merge(input)) => {
                let key = input.plan.key.clone();
                let result = merge(&input, &mut self.nats);
                let wait = self.random.within(MERGE_MS.0, MERGE_MS.1);
                let event = RootEvent::Merged(key, Box::new(result));
                self.event_after(wait, life, Event::Root(root, event));
            }
            RootTask::Effect(RootEffect::PublishSettled(record)) => self.settled(root, &record),
            RootTask::Effect(RootEffect::Ended(_)) => {
                let regions: Vec<_> = self.fogs.keys().rev().cloned().collect();
                let tasks = &mut self.roots[root].host.tasks;
                for region in regions {
                    tasks.push_front(RootTask::Down(region, DownMessage::Ended));
                }
            }
            RootTask::Effect(RootEffect::RoundDone(_) | RootEffect::Waiting { .. }) => {}
        }
    }

    fn settled(&mut self, root: usize, record: &PhaseRecord) {
        self.check_settled(record);
        let Some((outcome, _)) = record.closed else {
            return self.ensure(false, || {
                format!("{} is settled and not closed", record.key)
            });
        };
        let tasks = &mut self.roots[root].host.tasks;
        for region in record.regions.iter().rev() {
            let absent = record
                .absent
                .iter()
                .find(|absence| absence.region == *region);
            let message = DownMessage::Settled {
                key: record.key.clone(),
                outcome,
                accepted: record.accepted.get(region).map(|accepted| accepted.digest),
                absent: absent.map(|absence| absence.reason),
            };
            tasks.push_front(RootTask::Down(region.clone(), message));
        }
    }

    /// Appends where nobody else has; otherwise this root no longer leads, and ends.
    fn append(&mut self, root: usize, entry: LogEntry) {
        let state = &mut self.roots[root];
        if !self.nats.append(state.known, entry.clone()) {
            self.tell(|| format!("root{root} is fenced"));
            let other = self.roots[1 - root].host.is_up();
            let down_ms = self.random.within(100, 2_000);
            self.kill(&ProcessId::Root(root), Some(down_ms));
            self.roots[root].host.gone = other && self.healed;
            return;
        }
        state.known += 1;
        state
            .host
            .inbox
            .push_front(RootEvent::Committed(entry.clone()));
        self.check_entry(&entry);
    }

    /// Something new is in the partials' stream.
    pub(crate) fn wake_puller(&mut self, root: usize) {
        let state = &mut self.roots[root];
        if state.host.is_up() && !state.pulling {
            state.pulling = true;
            let life = state.host.life;
            let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
            self.after(wait, Action::PullPartial(root, life));
        }
    }

    pub(crate) fn pull_partial(&mut self, root: usize, life: Life) {
        let now = self.now;
        let state = &mut self.roots[root];
        if !state.host.lives(life) {
            return;
        }
        if state.host.is_cut(now) {
            return self.after(RETRY_MS, Action::PullPartial(root, life));
        }
        let Some(stored) = self.nats.partials.get(state.cursor) else {
            state.pulling = false;
            return;
        };
        state.cursor += 1;
        let event = partial_event(stored);
        self.event(Event::Root(root, event));
        let wait = self.random.within(DELAY_MS.0, DELAY_MS.1);
        self.after(wait, Action::PullPartial(root, life));
    }
}

fn partial_event(stored: &crate::nats::StoredPartial) -> RootEvent {
    RootEvent::Partial {
        partial: Box::new(stored.partial.clone()),
        digest: stored.digest,
        bytes: 1,
    }
}

/// What a root makes of a phase's sum, with its objects stored.
pub(crate) fn merge(input: &MergeInput, nats: &mut Nats) -> PhaseResult {
    match (&input.sum, &input.plan.work) {
        (Sum::Statistics(sum), _) => PhaseResult::Statistics {
            rows: sum.rows,
            normalization: sum.normalization(&[false]),
        },
        (Sum::Evaluation(sum), _) => PhaseResult::Evaluate(sum.clone()),
        (Sum::Update(sum), Work::Train(work)) => {
            let LogEntry::Submitted { spec, .. } = &nats.log[0] else {
                unreachable!("a log begins with its submission")
            };
            let before = nats.parameters(input.plan.parameters);
            let moments = nats.moments(input.moments);
            // A quorum of at least one brings weight, and every figure is small.
            #[expect(clippy::unwrap_used, reason = "such a sum moves the model")]
            let step = ServerStep::take(&spec.server, before, &moments, sum, &work.grid).unwrap();
            let coordinates = sum.wq.iter().map(|q| q.len() as u64 * sum.updates);
            let coordinates: Vec<u64> = coordinates.collect();
            PhaseResult::Train {
                parameters: nats.put_parameters(step.parameters),
                moments: Some(nats.put_moments(step.moments)),
                grid: work.grid.adapted(
                    work.clip_norm,
                    &sum.magnitudes,
                    &sum.saturated,
                    &coordinates,
                ),
                examples: sum.examples,
                loss: sum.loss as f64 / sum.examples as f64,
            }
        }
        (Sum::Update(_), _) => unreachable!("a sum of updates is of a train plan"),
    }
}

fn brief(task: &RootTask) -> String {
    match task {
        RootTask::Down(region, DownMessage::Plan(plan)) => format!("plan {} to {region}", plan.key),
        RootTask::Down(region, message) => format!("{message:?} to {region}"),
        RootTask::Effect(effect) => match effect {
            RootEffect::Append(LogEntry::Opened { plan, .. }) => {
                format!("Append(Opened {})", plan.key)
            }
            RootEffect::Append(LogEntry::Settled { key, .. }) => format!("Append(Settled {key})"),
            RootEffect::PublishPlan(plan, _) => format!("PublishPlan({})", plan.key),
            RootEffect::Merge(input) => format!("Merge({})", input.plan.key),
            RootEffect::PublishSettled(record) => format!("PublishSettled({})", record.key),
            RootEffect::RoundDone(record) => format!("RoundDone({})", record.round),
            other => format!("{other:?}"),
        },
    }
}
