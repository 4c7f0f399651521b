//! The gateway tier: admits its region's contributions, sums them exactly, reports one partial sum.
//!
//! `run` is the shell around [`fl_round::FogRound`]: it verifies what devices and the root say, feeds
//! the machine, and carries its effects out over MQTT, NATS and the disk. See [`gateway`].

pub mod broadcast;
pub mod check;
pub mod cli;
pub mod disk;
pub mod door;
pub mod endpoint;
pub mod fetch;
pub mod follow;
pub mod gateway;
pub mod init;
pub mod mail;
pub mod partials;
pub mod roster;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod telling;
pub mod uploads;
