//! The names and types of span attributes, in one place. Units are in brackets; those without are counts or labels.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttrValue {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Int(i64),
    /// A measured number.
    Real(f64),
    /// A label.
    Text(String),
}

/// Type of attributes that are whole numbers.
#[derive(Debug, Clone, Copy)]
pub enum Int {}
/// Type of attributes that are measured numbers.
#[derive(Debug, Clone, Copy)]
pub enum Real {}
/// Type of attributes that are labels.
#[derive(Debug, Clone, Copy)]
pub enum Text {}
/// Type of attributes that are true or false.
#[derive(Debug, Clone, Copy)]
pub enum Flag {}

/// An attribute's name and the type of its values.
#[derive(Debug)]
pub struct Key<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> Key<T> {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            of: PhantomData,
        }
    }

    /// The name as it stands in OTLP.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A Rust value that an attribute of type `T` takes.
pub trait AttrInput<T> {
    /// The value to store; whole numbers beyond `i64` saturate.
    fn into_attr(self) -> AttrValue;
}

macro_rules! inputs {
    ($($input:ty => $kind:ident, |$value:ident| $make:expr;)*) => {
        $(impl AttrInput<$kind> for $input {
            fn into_attr(self) -> AttrValue {
                let $value = self;
                AttrValue::$kind($make)
            }
        })*
    };
}

inputs! {
    u32 => Int, |value| i64::from(value);
    i64 => Int, |value| value;
    u64 => Int, |value| i64::try_from(value).unwrap_or(i64::MAX);
    usize => Int, |value| i64::try_from(value).unwrap_or(i64::MAX);
    f32 => Real, |value| f64::from(value);
    f64 => Real, |value| value;
    bool => Flag, |value| value;
    &str => Text, |value| value.to_owned();
    String => Text, |value| value;
    &String => Text, |value| value.clone();
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Key<$kind> = Key::new($text);)*
    };
}

keys! {
    /// The job's name; on every span.
    JOB: Text = "fl.job";
    /// The round's number; on every span.
    ROUND: Int = "fl.round";
    /// Which attempt at the round, from 0; on the round.
    ATTEMPT: Int = "fl.attempt";
    /// The region; on every span below the root's own.
    REGION: Text = "fl.region";
    /// The device; on its span and its phases.
    DEVICE: Text = "fl.device";

    /// How the unit ended: `merged`, `no_quorum`, `abandoned`; `accepted`, `late`; `rejected`, `dropped`, `declined`.
    OUTCOME: Text = "fl.outcome";
    /// Why, in the protocol's words.
    REASON: Text = "fl.reason";
    /// The phase in which a device was dropped.
    PHASE: Text = "fl.phase";
    /// The round saw nothing that counts as an incident.
    CLEAN: Flag = "fl.clean";
    /// Devices that were asked.
    DEVICES_SELECTED: Int = "fl.devices.selected";
    /// Devices whose contribution was admitted.
    DEVICES_ACCEPTED: Int = "fl.devices.accepted";
    /// Devices whose last word was a rejected contribution.
    DEVICES_REJECTED: Int = "fl.devices.rejected";
    /// Devices that fell silent.
    DEVICES_DROPPED: Int = "fl.devices.dropped";
    /// Devices that said no by a gate of their own.
    DEVICES_DECLINED: Int = "fl.devices.declined";
    /// Devices that have a span.
    DEVICES_TRACED: Int = "fl.devices.traced";
    /// Times a fog came back during the round.
    RESTARTS: Int = "fl.restarts";
    /// Times the leadership changed during the round.
    FAILOVERS: Int = "fl.failovers";
    /// Contributions that were lost and not sent again.
    LOST: Int = "fl.lost";
    /// Contributions that were still there after a restart.
    RECOVERED: Int = "fl.recovered";
    /// The region that took longest.
    SLOWEST_REGION: Text = "fl.slowest.region";
    /// The device that took longest.
    SLOWEST_DEVICE: Text = "fl.slowest.device";
    /// The phase in which that device spent most.
    SLOWEST_PHASE: Text = "fl.slowest.phase";
    /// Accuracy of the round's model (0 to 1).
    ACCURACY: Real = "fl.accuracy";
    /// Digest of the round's model.
    MODEL: Text = "fl.model";
    /// The region missed the deadline.
    LATE: Flag = "fl.late";
    /// Median duration of the region's accepted devices [s].
    DURATION_P50: Real = "fl.duration.p50";
    /// 90th percentile of the same [s].
    DURATION_P90: Real = "fl.duration.p90";
    /// The device was a straggler.
    SLOW: Flag = "fl.slow";
    /// The phase that made it one.
    SLOW_PHASE: Text = "fl.slow.phase";
    /// Why, as far as the device knows.
    SLOW_REASON: Text = "fl.slow.reason";

    /// Bytes moved [By].
    BYTES: Int = "fl.bytes";
    /// Chunks they were cut into.
    CHUNKS: Int = "fl.chunks";
    /// Chunks or messages sent again.
    RESENDS: Int = "fl.resends";
    /// By how much the fog's clock is ahead of the device's, as the device measured it [ms].
    CLOCK_OFFSET: Int = "clock.offset_ms";
    /// Training examples.
    EXAMPLES: Int = "fl.examples";
    /// Rows of a device's command that were kept since its agent started.
    SENSOR_ROWS: Int = "fl.sensor.rows";
    /// Lines of the same that were refused, and rows that the disk did not take.
    SENSOR_REFUSED: Int = "fl.sensor.refused";
    /// Times that the command was started again.
    SENSOR_RESTARTS: Int = "fl.sensor.restarts";
    /// Local epochs.
    EPOCHS: Int = "fl.epochs";
    /// Mean loss.
    LOSS: Real = "fl.loss";
    /// L2 norm of the update before clipping.
    NORM: Real = "fl.norm";
    /// The plan's bound on it.
    NORM_LIMIT: Real = "fl.norm.limit";

    /// The fog or root that acts.
    LEADER: Text = "fl.leader";
    /// The one it took over from.
    LEADER_PREVIOUS: Text = "fl.leader.previous";
    /// The epoch under which it acts.
    EPOCH: Int = "fl.epoch";
    /// What a long round waits for.
    WAITING_FOR: Text = "fl.waiting.for";

    /// OpenTelemetry: what kind of error; set exactly on spans with error status.
    ERROR_TYPE: Text = "error.type";
    /// OpenTelemetry messaging: `mqtt` or `nats`.
    MESSAGING_SYSTEM: Text = "messaging.system";
    /// OpenTelemetry messaging: the operation in the system's words.
    MESSAGING_OPERATION_NAME: Text = "messaging.operation.name";
    /// OpenTelemetry messaging: `send`, `receive`, `process`.
    MESSAGING_OPERATION_TYPE: Text = "messaging.operation.type";
    /// OpenTelemetry messaging: topic or subject.
    MESSAGING_DESTINATION_NAME: Text = "messaging.destination.name";
    /// OpenTelemetry messaging: its low-cardinality form.
    MESSAGING_DESTINATION_TEMPLATE: Text = "messaging.destination.template";
}

/// Event names.
pub mod event {
    /// A device became slower than its region.
    pub const STRAGGLER: &str = "straggler";
    /// A contribution was rejected.
    pub const REJECTED: &str = "rejected";
    /// A device was given up.
    pub const DROPPED: &str = "dropped";
    /// A device said no.
    pub const DECLINED: &str = "declined";
    /// The device slowed itself down (heat, battery).
    pub const THROTTLED: &str = "throttled";
    /// Something was sent again.
    pub const RETRY: &str = "retry";
    /// A transfer or a round went on after an interruption.
    pub const RESUMED: &str = "resumed";
    /// The receipt arrived.
    pub const RECEIPT: &str = "receipt";
    /// A fog read its last snapshot.
    pub const SNAPSHOT_LOADED: &str = "snapshot.loaded";
    /// A fog takes contributions again.
    pub const LISTENING: &str = "listening";
    /// The old leader's lease ran out.
    pub const LEASE_EXPIRED: &str = "lease.expired";
    /// A new leader took over.
    pub const ELECTED: &str = "elected";
}
