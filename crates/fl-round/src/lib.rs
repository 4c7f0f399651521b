//! The round protocol as state machines without I/O.
//!
//! Each tier has one: [`EdgeRound`] on a device, [`FogRound`] on a gateway, [`RootRound`] in the
//! cloud. A shell feeds it events with the time that its own monotonic clock shows, and carries out
//! the effects that come back, in order. Nothing here reads a clock, a socket or a file, so a
//! simulation can kill any of them between any two effects.
//!
//! ```text
//!  root   Opened ── PublishPlan ─►        PartialAccepted ─► Closed ─► Merge ─► Settled
//!  fog              Fetch, Broadcast ─►  admit ─ Persist ─ Receipt ─► Close ─ Publish ─► Notify
//!  edge             Fetch ─► Work ─► Store ─ Send ─────────► (admitted) ──────────────► Forget
//! ```

mod edge;
mod fog;
mod root;
mod time;

pub use edge::{Answer, EdgeEffect, EdgeEvent, EdgeRound};
pub use fog::{FogEffect, FogEvent, FogLimits, FogRound, Restored, SettledRecord};
pub use root::{
    Failover, MergeInput, PartialRefusal, PhaseRecord, RegionRecord, ReplayError, RootEffect,
    RootEvent, RootLimits, RootRound, RootStage, RoundRecord,
};
pub use time::{Millis, Timeout};
