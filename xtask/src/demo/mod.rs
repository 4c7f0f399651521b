//! The parts of `xtask demo`: what it is asked, where the data's devices are, where results go,
//! and what a user sees while it runs and when it is done.

mod arguments;
mod collector;
mod display;
mod places;
mod results;
mod summary;
mod traces;

pub use arguments::{DemoArguments, default_data};
pub use collector::Collector;
pub use display::{Progress, RoundLine, print_closing};
pub use places::{Device, Region, discover};
pub use results::Results;
pub use summary::{Alone, Bytes, DeviceResult, Federated, Missing, Pooled, Summary, WorstDevice};
pub use traces::{Merged, merge_traces};
