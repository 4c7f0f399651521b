//! A seeded simulation around the round's state machines.
//!
//! Devices, fogs and roots live in virtual time. Their shells are simulated: each carries out the
//! effects of its machine one after another, and may be killed between any two of them; what it had
//! put on its disk by then is what it starts from again. MQTT loses sessions, NATS cuts connections,
//! roots run beside each other. After every step the promises of the protocol are checked:
//!
//! - a contribution is in at most one sum, and its device is told exactly what became of it;
//! - the global model has the same bits as the flat sum over the logged contributor sets gives;
//! - what devices learned is in the model or in their residuals, to the last bit;
//! - a receipt follows what it vouches for, a plan and a settlement follow their log entry;
//! - the fold of the log is the state of the root;
//! - once nothing goes wrong any more, the job ends, every outbox drains, and no round waits for
//!   its deadline.
//!
//! [`World::run`] runs a [`Scenario`]; the same scenario always takes the same course.

mod device;
mod faults;
mod fog;
mod host;
mod mqtt;
mod nats;
mod random;
mod root;
mod scenario;
mod truth;
mod world;

pub use scenario::{
    Behaviour, Broker, Fault, Network, ProcessId, Scenario, TENSORS, WEIGHT_MAX, device_id,
    region_id,
};
pub use world::{Report, Violation, World};
