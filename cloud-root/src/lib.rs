//! The cloud tier: plans rounds, merges regions, publishes the next model, keeps the record.
//!
//! `serve` is the shell around [`fl_round::RootRound`]: it appends what the machine asks for to the
//! job's log in JetStream, carries its effects out, and answers operators on a loopback endpoint. It
//! has no path to any data.

mod api;
mod board;
pub mod cli;
pub mod home;
mod init;
mod intake;
pub mod job_view;
mod jobs;
mod members;
mod merge;
pub mod models;
mod office;
mod operate;
mod partials;
mod patience;
mod publish;
mod roster;
mod runner;
mod server;
mod settings;
mod sweep;
#[cfg(test)]
mod testing;
mod trace;
mod watch;

pub use roster::RosterFile;
pub use settings::RootSettings;
