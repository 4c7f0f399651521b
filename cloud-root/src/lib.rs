//! The cloud tier: plans rounds, merges regions, publishes the next model, keeps the record.
//!
//! `serve` is the shell around [`fl_round::RootRound`]: it appends what the machine asks for to the
//! job's log in JetStream, carries its effects out, and answers operators on a loopback endpoint. It
//! has no path to any data.

mod api;
pub mod cli;
pub mod home;
pub mod job_view;
mod jobs;
mod merge;
pub mod models;
mod partials;
mod publish;
mod roster;
mod runner;
mod server;
mod settings;
mod trace;

pub use roster::RosterFile;
pub use settings::RootSettings;
