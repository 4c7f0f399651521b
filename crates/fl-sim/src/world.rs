//! Virtual time, and processes that carry out one effect after another.

use std::collections::BTreeMap;

use fl_model::{DeviceId, LogEntry, ObjectRef, RegionId, RoundPlan};
use fl_round::{EdgeEvent, FogEvent, Millis, RootEvent};

use crate::device::Device;
use crate::fog::Fog;
use crate::host::Life;
use crate::mqtt::{DownMessage, UpMessage};
use crate::nats::Nats;
use crate::random::Random;
use crate::root::Root;
use crate::scenario::{Fault, ProcessId, Scenario, TENSORS};
use crate::truth::Truth;

/// Longest a simulated federation may take after it is healed, besides what its rounds take.
const SETTLE_MS: Millis = 60_000;
/// Most actions of one simulation.
const ACTIONS_MAX: u64 = 2_000_000;
/// Wake-ups without another event after which a machine is in a busy loop.
const WAKES_MAX: u32 = 20;

/// A promise of the protocol that a simulation broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, at {at_ms} ms: {what}")]
pub struct Violation {
    /// The scenario's seed.
    pub seed: u64,
    /// Virtual time.
    pub at_ms: Millis,
    /// Which promise, and by whom.
    pub what: String,
}

/// What a finished simulation has to say.
#[derive(Debug, Clone)]
pub struct Report {
    /// The job's log.
    pub log: Vec<LogEntry>,
    /// The last global parameters.
    pub parameters: ObjectRef,
    /// Effects that each process carried out.
    pub effects: BTreeMap<ProcessId, u64>,
    /// Virtual time when the job had ended and every outbox was empty.
    pub ended_ms: Millis,
    /// Virtual time from opening to closing, per phase.
    pub phases_ms: Vec<Millis>,
}

/// An event for a process.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Device(DeviceId, EdgeEvent),
    Fog(RegionId, FogEvent),
    Root(usize, RootEvent),
}

impl Event {
    fn process(&self) -> ProcessId {
        match self {
            Event::Device(device, _) => ProcessId::Device(device.clone()),
            Event::Fog(region, _) => ProcessId::Fog(region.clone()),
            Event::Root(root, _) => ProcessId::Root(*root),
        }
    }
}

/// What happens at some time.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Step(ProcessId, Life),
    Wake(ProcessId, Life),
    Event(Life, Box<Event>),
    Beat(ProcessId, Life),
    Start(ProcessId),
    Fault(Fault),
    Heal,
    Connect(DeviceId, Life),
    Up(DeviceId, u32, UpMessage),
    Down(DeviceId, u32, DownMessage),
    Worked(DeviceId, Life, Box<RoundPlan>),
    Retain(RegionId, Life, Option<Box<RoundPlan>>),
    PullDown(RegionId, Life),
    PublishPartial(RegionId, Life, Box<fl_model::PartialSum>),
    PullPartial(usize, Life),
}

/// A federation in virtual time.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) random: Random,
    pub(crate) now: Millis,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) fogs: BTreeMap<RegionId, Fog>,
    pub(crate) roots: [Root; 2],
    pub(crate) nats: Nats,
    pub(crate) truth: Truth,
    pub(crate) healed: bool,
    order: u64,
    queue: BTreeMap<(Millis, u64), Action>,
    /// None where nobody listens.
    story: Option<Vec<String>>,
    violation: Option<Violation>,
}

/// Evaluates an expression on the host of any process.
macro_rules! with_host {
    ($world:expr, $process:expr, $host:ident => $body:expr) => {
        match $process {
            ProcessId::Device(device) => $world.devices.get_mut(device).map(|p| {
                let $host = &mut p.host;
                $body
            }),
            ProcessId::Fog(region) => $world.fogs.get_mut(region).map(|p| {
                let $host = &mut p.host;
                $body
            }),
            ProcessId::Root(root) => $world.roots.get_mut(*root).map(|p| {
                let $host = &mut p.host;
                $body
            }),
        }
    };
}
pub(crate) use with_host;

impl World {
    /// Runs a scenario to its end.
    ///
    /// # Errors
    /// The first promise that was broken; a job or a device that does not finish is one too.
    pub fn run(scenario: &Scenario) -> Result<Report, Violation> {
        Self::new(scenario.clone()).finish()
    }

    /// As [`World::run`], with everything that happened, one line each.
    pub fn told(scenario: &Scenario) -> (Result<Report, Violation>, Vec<String>) {
        let mut world = Self::new(scenario.clone());
        world.story = Some(Vec::new());
        let result = world.finish();
        (result, world.story.unwrap_or_default())
    }

    fn new(scenario: Scenario) -> Self {
        let mut nats = Nats::default();
        let zero = TENSORS.iter().map(|&n| vec![0.0; n]).collect();
        let parameters = nats.put_parameters(zero);
        nats.log.push(LogEntry::Submitted {
            spec: Box::new(scenario.spec()),
            model: parameters,
            parameters,
            tensors: TENSORS.iter().map(|&n| n as u64).collect(),
            at_us: 0,
        });
        let regions = || scenario.region_ids().enumerate();
        let devices = regions().flat_map(|(number, region)| {
            let of = scenario.device_ids(number as u32).into_iter();
            of.map(move |device| (device, Device::new(region.clone())))
        });
        let fogs = regions().map(|(number, region)| {
            let devices = scenario.device_ids(number as u32);
            (region, Fog::new(devices))
        });
        let mut world = Self {
            random: Random::new(scenario.seed),
            now: 0,
            devices: devices.collect(),
            fogs: fogs.collect(),
            roots: [Root::new(), Root::new()],
            nats,
            truth: Truth::new(parameters),
            healed: false,
            order: 0,
            queue: BTreeMap::new(),
            story: None,
            violation: None,
            scenario,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        let all: Vec<_> = self
            .processes()
            .filter(|p| *p != ProcessId::Root(1))
            .collect();
        for process in all {
            let at = self.random.within(0, 200);
            self.after(at, Action::Start(process));
        }
        for (at, fault) in self.scenario.faults.clone() {
            self.after(at, Action::Fault(fault));
        }
        self.after(self.scenario.healed_ms, Action::Heal);
    }

    fn finish(&mut self) -> Result<Report, Violation> {
        let rounds = Millis::from(self.scenario.rounds) + 1;
        let round_ms = 4 * Millis::from(Scenario::DEADLINE_MS);
        let until = self.scenario.healed_ms + rounds * round_ms + SETTLE_MS;
        for _ in 0..ACTIONS_MAX {
            if self.is_done() {
                break;
            }
            let Some(((at, _), action)) = self.queue.pop_first() else {
                break;
            };
            self.now = at;
            if at > until {
                break;
            }
            self.act(action);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.check_end();
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(self.report()),
        }
    }

    fn report(&mut self) -> Report {
        let all: Vec<_> = self.processes().collect();
        let effects = all.into_iter().map(|process| {
            let count = with_host!(self, &process, host => host.effects);
            (process, count.unwrap_or(0))
        });
        Report {
            effects: effects.collect(),
            log: self.nats.log.clone(),
            parameters: self.truth.parameters(),
            ended_ms: self.now,
            phases_ms: self.truth.phases_ms().collect(),
        }
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let devices = self.devices.keys().cloned().map(ProcessId::Device);
        let fogs = self.fogs.keys().cloned().map(ProcessId::Fog);
        devices.chain(fogs).chain([0, 1].map(ProcessId::Root))
    }

    /// Notes a broken promise; the first one counts.
    pub(crate) fn ensure(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation {
                seed: self.scenario.seed,
                at_ms: self.now,
                what: what(),
            });
        }
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now:>6} {}", line()));
        }
    }

    pub(crate) fn after(&mut self, wait_ms: Millis, action: Action) {
        self.order += 1;
        self.queue.insert((self.now + wait_ms, self.order), action);
    }

    /// Puts an event into the inbox of that life of its process, later.
    pub(crate) fn event_after(&mut self, wait_ms: Millis, life: Life, event: Event) {
        self.after(wait_ms, Action::Event(life, Box::new(event)));
    }

    /// Puts an event into its process's inbox.
    pub(crate) fn event(&mut self, event: Event) {
        let process = event.process();
        with_host!(self, &process, host => host.wakes = 0);
        match event {
            Event::Device(device, event) => self.device(&device).host.inbox.push_back(event),
            Event::Fog(region, event) => self.fog(&region).host.inbox.push_back(event),
            Event::Root(root, event) => self.roots[root].host.inbox.push_back(event),
        }
        self.schedule_step(&process);
    }

    pub(crate) fn device(&mut self, device: &DeviceId) -> &mut Device {
        // Devices are never added or removed.
        #[expect(clippy::unwrap_used, reason = "every name comes from the map")]
        self.devices.get_mut(device).unwrap()
    }

    pub(crate) fn fog(&mut self, region: &RegionId) -> &mut Fog {
        // Fogs are never added or removed.
        #[expect(clippy::unwrap_used, reason = "every name comes from the map")]
        self.fogs.get_mut(region).unwrap()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Step(process, life) => self.step(&process, life),
            Action::Wake(process, life) => self.wake(&process, life),
            Action::Event(life, event) => {
                let process = event.process();
                if with_host!(self, &process, host => host.lives(life)) == Some(true) {
                    self.event(*event);
                }
            }
            Action::Beat(process, life) => self.beat(&process, life),
            Action::Start(process) => self.start(&process),
            Action::Fault(fault) => self.fault(fault),
            Action::Heal => self.heal(),
            Action::Connect(device, life) => self.connect(&device, life),
            Action::Up(device, session, message) => self.arrive_up(&device, session, message),
            Action::Down(device, session, message) => self.arrive_down(&device, session, message),
            Action::Worked(device, life, plan) => self.worked(&device, life, &plan),
            Action::Retain(region, life, plan) => self.retain(&region, life, plan),
            Action::PullDown(region, life) => self.pull_down(&region, life),
            Action::PublishPartial(region, life, partial) => {
                self.publish_partial(&region, life, &partial);
            }
            Action::PullPartial(root, life) => self.pull_partial(root, life),
        }
    }

    pub(crate) fn schedule_step(&mut self, process: &ProcessId) {
        let now = self.now;
        let due = with_host!(self, process, host => {
            let due = host.has_work() && !host.stepping;
            host.stepping |= due;
            due.then(|| (host.life, host.paused_until.saturating_sub(now)))
        });
        if let Some(Some((life, wait))) = due {
            let wait = wait + self.random.within(0, 3);
            self.after(wait, Action::Step(process.clone(), life));
        }
    }

    /// Carries out one effect, or takes one event where none is left to carry out.
    fn step(&mut self, process: &ProcessId, life: Life) {
        let now = self.now;
        let may = with_host!(self, process, host => {
            let lives = host.lives(life);
            if lives {
                host.stepping = false;
            }
            lives && now >= host.paused_until
        });
        if may == Some(true) {
            let carried_out = match process {
                ProcessId::Device(device) => self.step_device(device),
                ProcessId::Fog(region) => self.step_fog(region),
                ProcessId::Root(root) => self.step_root(*root),
            };
            let dies = with_host!(self, process, host => {
                (carried_out && host.carried_out()).then(|| host.fuse.and_then(|(_, down)| down))
            });
            if let Some(Some(down_ms)) = dies {
                self.kill(process, down_ms);
            }
        }
        self.schedule_step(process);
        self.schedule_wake(process);
    }

    fn schedule_wake(&mut self, process: &ProcessId) {
        let now = self.now;
        let wake = with_host!(self, process, host => {
            let idle = host.machine.as_ref().filter(|_| host.tasks.is_empty());
            let at = idle.and_then(|machine| machine.next_timeout());
            let at = at.map(|timeout| (timeout.at + host.clock_from).max(now));
            let other = at.filter(|_| host.wake_at != at);
            host.wake_at = at;
            other.map(|at| (at, host.life))
        });
        if let Some(Some((at, life))) = wake {
            self.after(at - now, Action::Wake(process.clone(), life));
        }
    }

    fn wake(&mut self, process: &ProcessId, life: Life) {
        let now = self.now;
        let wakes = with_host!(self, process, host => {
            let due = host.lives(life) && host.wake_at == Some(now);
            if due {
                host.wake_at = None;
            }
            due.then_some(host.wakes + 1)
        });
        let Some(Some(wakes)) = wakes else { return };
        self.ensure(wakes <= WAKES_MAX, || {
            format!("{process:?} is in a busy loop")
        });
        self.event(match process {
            ProcessId::Device(device) => Event::Device(device.clone(), EdgeEvent::Timeout),
            ProcessId::Fog(region) => Event::Fog(region.clone(), FogEvent::Timeout),
            ProcessId::Root(root) => Event::Root(*root, RootEvent::Timeout),
        });
        with_host!(self, process, host => host.wakes = wakes);
    }

    pub(crate) fn start(&mut self, process: &ProcessId) {
        let may = with_host!(self, process, host => !host.is_up() && !host.gone);
        if may != Some(true) {
            return;
        }
        self.tell(|| format!("{process:?} starts"));
        let clock_from = self.now - self.random.within(0, self.now.min(1_000));
        with_host!(self, process, host => host.clock_from = clock_from);
        match process {
            ProcessId::Device(device) => self.start_device(device),
            ProcessId::Fog(region) => self.start_fog(region),
            ProcessId::Root(root) => self.start_root(*root),
        }
        let life = with_host!(self, process, host => host.life).unwrap_or(0);
        self.after(Scenario::BEAT_MS, Action::Beat(process.clone(), life));
        self.schedule_step(process);
    }

    fn beat(&mut self, process: &ProcessId, life: Life) {
        let now = self.now;
        let beats = with_host!(self, process, host => {
            host.lives(life).then_some(now >= host.paused_until)
        });
        let Some(Some(awake)) = beats else { return };
        if awake {
            match process {
                ProcessId::Device(device) => self.send_up(device, UpMessage::Beat),
                ProcessId::Fog(region) => self.beat_fog(region),
                ProcessId::Root(_) => {}
            }
        }
        self.after(Scenario::BEAT_MS, Action::Beat(process.clone(), life));
    }
}
