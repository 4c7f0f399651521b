//! Whole federations out of real processes: nats-server, cloud-root, fogs with their brokers, agents.

mod demo;
mod faults;
mod small;
mod support;
