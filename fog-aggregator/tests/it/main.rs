//! The gateway as a process: real nats-server, its embedded broker, devices and attackers over MQTT.

#![allow(clippy::unwrap_used, reason = "what helps a test may fail like a test")]

mod device;
mod fog;
mod homes;
mod mosquitto;
mod refusals;
mod restarts;
mod root;
mod rounds;
mod starts;
