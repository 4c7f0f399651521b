//! The gateway as a process: real nats-server, its embedded broker, devices and attackers over MQTT.

mod device;
mod fog;
mod homes;
mod nats_server;
mod refusals;
mod restarts;
mod root;
mod rounds;
mod starts;
