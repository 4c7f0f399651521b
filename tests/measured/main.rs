//! Federations of twelve devices that are measured: how good the model gets, and what a killed process
//! costs. One at a time, and nothing else of ours beside them.

mod default_demo;
mod faults;

use tokio::sync::Mutex;

/// Whoever holds it has the machine, and Jaeger's ports, alone.
static MACHINE: Mutex<()> = Mutex::const_new(());
