//! What goes wrong, and how it ends.

use fl_round::{Millis, RootEvent};

use crate::scenario::{Fault, ProcessId};
use crate::world::{Action, Event, World, with_host};

impl World {
    pub(crate) fn kill(&mut self, process: &ProcessId, down_ms: Option<Millis>) {
        if with_host!(self, process, host => host.is_up()) != Some(true) {
            return;
        }
        self.tell(|| format!("{process:?} is killed"));
        with_host!(self, process, host => {
            host.kill();
            host.gone |= down_ms.is_none();
        });
        match process {
            ProcessId::Device(device) => self.drop_session(device),
            ProcessId::Fog(region) => self.broker_died(region),
            ProcessId::Root(_) => {}
        }
        if let Some(down_ms) = down_ms {
            self.after(down_ms, Action::Start(process.clone()));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.tell(|| format!("fault: {fault:?}"));
        let now = self.now;
        match fault {
            Fault::Kill {
                process,
                after_effects: 0,
                down_ms,
            } => self.kill(&process, down_ms),
            Fault::Kill {
                process,
                after_effects,
                down_ms,
            } => {
                with_host!(self, &process, host => host.fuse = Some((after_effects, down_ms)));
            }
            Fault::Pause(process, ms) => {
                with_host!(self, &process, host => host.paused_until = now + ms);
            }
            Fault::Cut(process, ms) => {
                with_host!(self, &process, host => host.cut_until = now + ms);
                match &process {
                    ProcessId::Device(device) => self.drop_session(device),
                    ProcessId::Fog(region) => self.rejoin_fog(region, ms),
                    ProcessId::Root(_) => {}
                }
            }
            Fault::CutFromBroker(region, ms) => self.fog(&region).broker_cut_until = now + ms,
            Fault::StartRoot(root) => self.start(&ProcessId::Root(root)),
            Fault::Stop => {
                for root in 0..self.roots.len() {
                    if self.roots[root].host.is_up() {
                        self.event(Event::Root(root, RootEvent::Stop));
                    }
                }
            }
        }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        self.tell(|| "healed".into());
        self.healed = true;
        let now = self.now;
        let all: Vec<_> = self.processes().collect();
        for process in &all {
            with_host!(self, process, host => {
                host.fuse = None;
                host.cut_until = host.cut_until.min(now);
                host.paused_until = host.paused_until.min(now);
                host.stepping = false;
            });
            if *process != ProcessId::Root(1) {
                self.start(process);
            }
            self.schedule_step(process);
        }
        let regions: Vec<_> = self.fogs.keys().cloned().collect();
        for region in regions {
            self.fog(&region).broker_cut_until = now;
            self.rejoin_fog(&region, 0);
        }
    }
}
