//! Telemetry as processes use it: whole rounds through exporters to collectors.

mod export;
mod federation;
mod rounds;
