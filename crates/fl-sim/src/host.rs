//! What every simulated process has: a machine while it lives, events that wait, effects to carry out.

use std::collections::VecDeque;

use fl_round::Millis;

/// How often a process was started; what was meant for an earlier life is lost.
pub(crate) type Life = u32;

#[derive(Debug)]
pub(crate) struct Host<Machine, Event, Task> {
    /// None while the process is not running.
    pub(crate) machine: Option<Machine>,
    pub(crate) life: Life,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) tasks: VecDeque<Task>,
    /// Effects carried out in all lives.
    pub(crate) effects: u64,
    /// Effects until it is killed, and for how long it is then down.
    pub(crate) fuse: Option<(u64, Option<Millis>)>,
    pub(crate) paused_until: Millis,
    pub(crate) cut_until: Millis,
    /// Never started again.
    pub(crate) gone: bool,
    /// Its next step is in the queue.
    pub(crate) stepping: bool,
    /// Subtracted from the world's time: every life has a clock of its own.
    pub(crate) clock_from: Millis,
    /// The time for which a wake-up is in the queue.
    pub(crate) wake_at: Option<Millis>,
    /// Wake-ups since the last other event: a machine that asks for the time it has is a busy loop.
    pub(crate) wakes: u32,
}

impl<Machine, Event, Task> Host<Machine, Event, Task> {
    pub(crate) fn new() -> Self {
        Self {
            machine: None,
            life: 0,
            inbox: VecDeque::new(),
            tasks: VecDeque::new(),
            effects: 0,
            fuse: None,
            paused_until: 0,
            cut_until: 0,
            gone: false,
            stepping: false,
            clock_from: 0,
            wake_at: None,
            wakes: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    pub(crate) fn lives(&self, life: Life) -> bool {
        self.is_up() && self.life == life
    }

    pub(crate) fn is_cut(&self, now: Millis) -> bool {
        now < self.cut_until
    }

    pub(crate) fn has_work(&self) -> bool {
        self.is_up() && !(self.inbox.is_empty() && self.tasks.is_empty())
    }

    /// The time on its own clock.
    pub(crate) fn clock(&self, now: Millis) -> Millis {
        now - self.clock_from
    }

    pub(crate) fn start(&mut self, machine: Machine) {
        self.machine = Some(machine);
        self.life += 1;
        self.stepping = false;
        self.wake_at = None;
        self.wakes = 0;
    }

    pub(crate) fn kill(&mut self) {
        self.machine = None;
        self.inbox.clear();
        self.tasks.clear();
        self.fuse = None;
        self.paused_until = 0;
    }

    /// Counts an effect; says whether the process dies of it.
    pub(crate) fn carried_out(&mut self) -> bool {
        self.effects += 1;
        self.wakes = 0;
        if let Some((left, _)) = &mut self.fuse {
            *left = left.saturating_sub(1);
            return *left == 0;
        }
        false
    }
}
