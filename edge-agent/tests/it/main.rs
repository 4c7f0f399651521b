//! The agent's program, against real brokers, models and data.
#![allow(clippy::unwrap_used)]

mod check;
mod clock;
mod common;
mod personal;
mod processes;
mod sensor;
mod tensors;
mod windows;
