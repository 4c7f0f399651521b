//! The root as a process, and its commands, against a real nats-server.

#![allow(clippy::unwrap_used, reason = "what helps a test may fail like a test")]

mod epochs;
mod jobs;
mod models;
mod onnx;
mod root;
mod rosters;
mod starts;
mod terminals;
