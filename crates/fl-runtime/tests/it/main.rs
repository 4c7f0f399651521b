//! The sessions against real servers, in one binary so that it links once.

mod broker;
mod common;
mod nats;
mod nats_server;
