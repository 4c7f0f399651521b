//! The sessions against real servers, in one binary so that it links once.

mod broker;
mod common;
