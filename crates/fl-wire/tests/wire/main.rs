//! What every build of a protocol version must write and read, and what it must refuse.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod allocation;
mod bad;
mod hex;
mod properties;
mod samples;
mod strategies;
mod vectors;
