//! What the processes of a federation stand on.
//!
//! Sessions with the two buses, stores on disk, settings, keys, the clock, shutdown and the local
//! control socket. Message bodies are bytes here: what they say is for `fl-wire` and `fl-round`.
//!
//! Features: `mqtt` (client), `broker` (embedded MQTT broker), `nats`, `control`; settings, stores, keys,
//! clock, shutdown, logging and the terminal are always there. `test`: what tests stand on.

pub mod backoff;
#[cfg(feature = "broker")]
pub mod broker;
pub mod clock;
#[cfg(feature = "control")]
pub mod control;
pub mod job_file;
pub mod keys;
pub mod logging;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
pub mod settings;
pub mod shutdown;
pub mod store;
pub mod terminal;
#[cfg(feature = "test")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
pub mod url;
