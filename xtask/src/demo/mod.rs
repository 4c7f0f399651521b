//! `xtask demo`: what it is asked, where the data's devices are, the processes of a federation, what a
//! user sees while it runs and when it is done, and where results go.

mod arguments;
mod baselines;
mod collector;
mod course;
mod display;
mod federation;
mod job;
mod places;
mod programs;
mod results;
mod run;
mod summary;
mod traces;
mod watch;

pub use arguments::{DemoArguments, default_data, default_job};
pub use baselines::Baselines;
pub use collector::Collector;
pub use course::Course;
pub use display::{Progress, RoundLine, print_closing};
pub use federation::{CLOUD_ROOT, EDGE_AGENT, Federation, NATS_SERVER, agent_name, fog_name};
pub use job::Job;
pub use places::{Device, Region, discover};
pub use programs::{Programs, command_line, set_in_file};
pub use results::Results;
pub use run::run;
pub use summary::{
    Alone, AloneResult, Bytes, DeviceResult, Federated, Missing, Pooled, Score, Scores, Summary,
    WorstDevice,
};
pub use traces::{Merged, merge_traces};
pub use watch::{News, Watch};
