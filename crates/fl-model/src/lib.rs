//! Names, units, plans, grids and parameter sets of a federation.
//!
//! The vocabulary that every tier shares. Nothing here reads a file, a socket or a clock, and nothing
//! here knows how it is written on the wire: `fl-wire` owns that.

mod contribution;
mod data;
mod grid;
mod ids;
mod inputs;
mod job;
mod log;
mod options;
mod plan;
mod roster;
mod shell;
mod statistics;
mod sum;
mod tensor;
mod training;
mod window;

pub use contribution::{
    Admission, Contribution, ContributionKey, EncodedUpdate, Outcome, Payload, ProtectedUpdate,
    Reason, TrainMetrics,
};
pub use data::{DataSpec, Feature, FeatureSpec, Label, Normalization, Split};
pub use grid::{Grid, GridError, GridWidth};
pub use ids::{
    DeviceId, Digest, Epoch, InvalidDigest, InvalidName, JobId, MemberId, NAME_BYTES_MAX,
    ObjectRef, Phase, ROOT_NAME, RegionId, RoundKey, RoundNumber, TraceContext,
};
pub use inputs::{Inputs, TableInputs};
pub use job::{AdaptiveRule, JobSpec, ServerOptimizer, Weighting};
pub use log::{
    JobEnd, JobFailure, LogEntry, PhaseResult, RegionAbsence, RegionSummary, RoundOutcome,
};
pub use options::ModelOptions;
pub use plan::{EvaluateWork, Overflow, Privacy, RoundPlan, TrainWork, Work};
pub use roster::{Role, RosterEntry};
pub use shell::shell_word;
pub use statistics::{EvaluationCounters, FeatureStatistics, FixedPoint};
pub use sum::{Absence, PartialSum, Sum, UpdateSum};
pub use tensor::{
    ImageFolder, ImageLayout, TensorElements, TensorInput, TensorScale, TensorSource,
    statistics_ranges,
};
pub use training::{Decay, EXAMPLE_WEIGHT_MAX, LocalOptimizer, Loss, Schedule, TrainingSpec};
pub use window::{Window, WindowLabel, WindowLayout};
