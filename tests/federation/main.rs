//! Federations of real processes, in small and in `xtask demo`.

mod adapters;
mod demo;
mod folders;
mod networks;
mod outage;
mod own_job;
mod pasted;
mod personal;
mod sensors;
mod small;
mod tls;
