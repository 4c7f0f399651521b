//! What can stand in a message, and what of it must agree with the header.

use fl_model::{
    Contribution, Epoch, JobId, LogEntry, MemberId, PartialSum, RegionId, RosterEntry, RoundKey,
    RoundNumber, RoundPlan,
};

use crate::cbor;
use crate::error::WireError;
use crate::header::MessageKind;
use crate::messages::{
    Beat, Decline, FogBeat, Hello, Manifest, Receipt, RoundSettled, SettledNotice, SpanBatch, Want,
    Welcome,
};

/// Something with exactly one encoding.
pub trait Encoded: Sized {
    /// Its bytes. Refuses a value that could not be read again.
    fn encode(&self) -> Result<Vec<u8>, WireError>;

    /// Reads it from bytes in that one encoding.
    fn decode(bytes: &[u8]) -> Result<Self, WireError>;
}

impl<T: cbor::Wire> Encoded for T {
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        cbor::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

/// The body of a message.
pub trait Body: Encoded {
    /// The kinds under which it can travel.
    const KINDS: &[MessageKind];

    /// The kind under which this one travels.
    fn kind(&self) -> MessageKind;

    /// What it says of itself.
    fn scope(&self) -> Scope;
}

/// What a body says of itself, and its header must say too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The job.
    pub job: Option<JobId>,
    /// The round.
    pub round: Option<RoundNumber>,
    /// The root's epoch.
    pub epoch: Option<Epoch>,
    /// The region.
    pub region: Option<RegionId>,
    /// Who must have signed.
    pub sender: Option<MemberId>,
}

impl Scope {
    fn of_round(key: &RoundKey) -> Self {
        Self {
            round: Some(key.round),
            ..Self::of_job(&key.job)
        }
    }

    fn of_job(job: &JobId) -> Self {
        Self {
            job: Some(job.clone()),
            ..Self::default()
        }
    }

    fn of_region(region: &RegionId) -> Self {
        Self {
            region: Some(region.clone()),
            ..Self::default()
        }
    }
}

/// Bodies with one kind: `Type => Kind, |body| scope`.
macro_rules! bodies {
    ($($type:ty => $kind:ident, $scope:expr;)*) => {$(
        impl Body for $type {
            const KINDS: &[MessageKind] = &[MessageKind::$kind];

            fn kind(&self) -> MessageKind {
                MessageKind::$kind
            }

            fn scope(&self) -> Scope {
                let scope: fn(&Self) -> Scope = $scope;
                scope(self)
            }
        }
    )*};
}

bodies! {
    RoundPlan => Plan, |plan| Scope { epoch: Some(plan.epoch), ..Scope::of_round(&plan.key) };
    Receipt => Receipt, |receipt| Scope::of_round(&receipt.key.round);
    SettledNotice => SettledNotice, |notice| Scope::of_round(&notice.key.round);
    RoundSettled => RoundSettled, |settled| Scope::of_round(&settled.key);
    RosterEntry => RosterEntry, |entry| Scope::of_region(&entry.region);
    Hello => Hello, |_| Scope::default();
    Welcome => Welcome, |_| Scope::default();
    Beat => Beat, |_| Scope::default();
    FogBeat => FogBeat, |beat| Scope::of_region(&beat.region);
    Manifest => Manifest, |manifest| {
        let phase = manifest.contribution_to.as_ref();
        phase.map(Scope::of_round).unwrap_or_default()
    };
    Want => Want, |_| Scope::default();
    Decline => Decline, |decline| Scope::of_round(&decline.key);
    SpanBatch => Spans, |batch| Scope::of_round(&batch.key);
    LogEntry => LogEntry, log_scope;
}

impl Body for Contribution {
    const KINDS: &[MessageKind] = &[
        MessageKind::StatisticsContribution,
        MessageKind::TrainContribution,
        MessageKind::EvaluateContribution,
    ];

    fn kind(&self) -> MessageKind {
        MessageKind::contribution(self.key.round.phase)
    }

    fn scope(&self) -> Scope {
        Scope {
            sender: Some(self.key.device.clone()),
            ..Scope::of_round(&self.key.round)
        }
    }
}

impl Body for PartialSum {
    const KINDS: &[MessageKind] = &[
        MessageKind::StatisticsPartial,
        MessageKind::TrainPartial,
        MessageKind::EvaluatePartial,
    ];

    fn kind(&self) -> MessageKind {
        MessageKind::partial(self.key.phase)
    }

    fn scope(&self) -> Scope {
        Scope {
            epoch: Some(self.epoch),
            region: Some(self.region.clone()),
            ..Scope::of_round(&self.key)
        }
    }
}

/// An entry that belongs to a round is signed under it; the root's epoch is that of who wrote it.
fn log_scope(entry: &LogEntry) -> Scope {
    match entry {
        LogEntry::Submitted { spec, .. } => Scope::of_job(&spec.job),
        LogEntry::Led { epoch, .. } => Scope {
            epoch: Some(*epoch),
            ..Scope::default()
        },
        LogEntry::Opened { plan, .. } => plan.scope(),
        LogEntry::PartialAccepted { key, .. }
        | LogEntry::Closed { key, .. }
        | LogEntry::Settled { key, .. } => Scope::of_round(key),
        LogEntry::Ended { .. } => Scope::default(),
    }
}
