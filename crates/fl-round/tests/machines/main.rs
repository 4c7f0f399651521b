//! Each machine alone: events in, effects out.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;
mod edge;
mod fog_admission;
mod fog_closing;
mod fog_restart;
mod root_bounds;
mod root_partials;
mod root_resume;
mod root_rounds;
