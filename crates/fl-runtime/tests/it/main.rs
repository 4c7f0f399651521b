//! The sessions against real servers, in one binary so that it links once.

mod bad_links;
mod broker;
mod common;
mod encrypted;
mod link;
mod mosquitto;
mod nats;
mod nats_login;
mod nats_rights;
