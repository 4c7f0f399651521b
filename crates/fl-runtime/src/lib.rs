//! What the processes of a federation stand on.
//!
//! Sessions with the two buses, stores on disk, settings, keys, the clock, shutdown and the local
//! control socket. Message bodies are bytes here: what they say is for `fl-wire` and `fl-round`.
//!
//! Features: `mqtt` (client), `broker` (embedded MQTT broker), `nats`, `control`; settings, stores, keys,
//! clock, shutdown and logging are always there.

pub mod clock;
pub mod keys;
pub mod logging;
pub mod settings;
pub mod shutdown;
pub mod store;
