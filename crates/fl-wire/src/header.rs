//! What a message says about itself, in the protected header of its COSE_Sign1.

use std::fmt;

use coset::cbor::Value;
use coset::{HeaderBuilder, Label, RegisteredLabelWithPrivate, iana};
use fl_model::{
    Epoch, JobId, MemberId, Phase, ROOT_NAME, RegionId, RoundKey, RoundNumber, TraceContext,
};

use crate::body::Scope;
use crate::error::WireError;
use crate::limits::{CONTROL_BYTES_MAX, LOG_ENTRY_BYTES_MAX};
use crate::version::{PROTOCOL, VersionRange};

/// Labels of our header parameters, in COSE's private range. The sender is COSE's own `kid`.
/// Their order is the order of their encodings.
mod label {
    pub(super) const VERSION: i64 = -65_537;
    pub(super) const KIND: i64 = -65_538;
    pub(super) const JOB: i64 = -65_539;
    pub(super) const ROUND: i64 = -65_540;
    pub(super) const EPOCH: i64 = -65_541;
    pub(super) const REGION: i64 = -65_542;
    pub(super) const TRACE: i64 = -65_543;
}

const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What a message is. Contributions and partial sums have a kind per phase, so that a body
        /// cannot be replayed under another phase.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum MessageKind {
            $($(#[$doc])* $name,)*
        }

        impl MessageKind {
            /// Every kind.
            pub const ALL: &[MessageKind] = &[$(MessageKind::$name),*];

            /// The kind for people, in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(MessageKind::$name => $text,)* }
            }

            /// The kind's number on the wire; numbers are never given twice.
            pub fn code(self) -> u8 {
                match self { $(MessageKind::$name => $code,)* }
            }
        }
    };
}

kinds! {
    /// [`fl_model::RoundPlan`], from the root.
    Plan = 1, "plan";
    /// [`fl_model::Contribution`] to a statistics phase.
    StatisticsContribution = 2, "statistics contribution";
    /// [`fl_model::Contribution`] to a train phase.
    TrainContribution = 3, "train contribution";
    /// [`fl_model::Contribution`] to an evaluate phase.
    EvaluateContribution = 4, "evaluate contribution";
    /// [`crate::Receipt`], from a fog.
    Receipt = 5, "receipt";
    /// [`crate::SettledNotice`], from a fog.
    SettledNotice = 6, "settled notice";
    /// [`crate::RoundSettled`], from the root.
    RoundSettled = 7, "settled round";
    /// [`fl_model::PartialSum`] of a statistics phase.
    StatisticsPartial = 8, "statistics partial";
    /// [`fl_model::PartialSum`] of a train phase.
    TrainPartial = 9, "train partial";
    /// [`fl_model::PartialSum`] of an evaluate phase.
    EvaluatePartial = 10, "evaluate partial";
    /// [`fl_model::RosterEntry`], from the root.
    RosterEntry = 11, "roster entry";
    /// [`crate::Hello`], from a device.
    Hello = 12, "hello";
    /// [`crate::Welcome`], from a fog.
    Welcome = 13, "welcome";
    /// [`crate::Beat`], from a device.
    Beat = 14, "heartbeat";
    /// [`crate::FogBeat`], from a fog.
    FogBeat = 15, "fog heartbeat";
    /// [`crate::Manifest`].
    Manifest = 16, "manifest";
    /// [`crate::Want`].
    Want = 17, "want";
    /// [`crate::Decline`], from a device.
    Decline = 18, "decline";
    /// [`crate::SpanBatch`], from a device.
    Spans = 19, "spans";
    /// [`fl_model::LogEntry`], from the root.
    LogEntry = 20, "log entry";
}

impl MessageKind {
    /// The kind with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// The kind of a contribution to `phase`.
    pub fn contribution(phase: Phase) -> Self {
        match phase {
            Phase::Statistics => MessageKind::StatisticsContribution,
            Phase::Train => MessageKind::TrainContribution,
            Phase::Evaluate => MessageKind::EvaluateContribution,
        }
    }

    /// The kind of a partial sum of `phase`.
    pub fn partial(phase: Phase) -> Self {
        match phase {
            Phase::Statistics => MessageKind::StatisticsPartial,
            Phase::Train => MessageKind::TrainPartial,
            Phase::Evaluate => MessageKind::EvaluatePartial,
        }
    }

    /// Whether only the root may send it.
    pub fn is_from_root(self) -> bool {
        use MessageKind::*;
        matches!(self, Plan | RoundSettled | RosterEntry | LogEntry)
    }

    /// The most bytes of a message of this kind; none where the plan decides.
    pub fn bytes_max(self) -> Option<usize> {
        use MessageKind::*;
        match self {
            StatisticsContribution | TrainContribution | EvaluateContribution => None,
            StatisticsPartial | TrainPartial | EvaluatePartial => None,
            LogEntry => Some(LOG_ENTRY_BYTES_MAX),
            _ => Some(CONTROL_BYTES_MAX),
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a message says about itself; part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the protocol.
    pub version: u32,
    /// What the body is.
    pub kind: MessageKind,
    /// The job it belongs to, where it belongs to one.
    pub job: Option<JobId>,
    /// The round, where it belongs to one.
    pub round: Option<RoundNumber>,
    /// The root's epoch as the sender knows it; 0 where it knows none.
    pub epoch: Epoch,
    /// The region, where it belongs to one.
    pub region: Option<RegionId>,
    /// Who signs.
    pub sender: MemberId,
    /// What the receiver's spans hang under.
    pub trace: Option<TraceContext>,
}

impl Header {
    /// The header of a message of that kind, in this build's version and nothing else set.
    pub fn new(kind: MessageKind, sender: &MemberId) -> Self {
        Self {
            version: PROTOCOL,
            kind,
            job: None,
            round: None,
            epoch: Epoch::default(),
            region: None,
            sender: sender.clone(),
            trace: None,
        }
    }

    /// In that phase's job and round.
    pub fn in_round(mut self, key: &RoundKey) -> Self {
        self.round = Some(key.round);
        self.in_job(&key.job)
    }

    /// In that job.
    pub fn in_job(mut self, job: &JobId) -> Self {
        self.job = Some(job.clone());
        self
    }

    /// In that region.
    pub fn in_region(mut self, region: &RegionId) -> Self {
        self.region = Some(region.clone());
        self
    }

    /// Under that epoch.
    pub fn under(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Under that span.
    pub fn traced(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Refuses a header that disagrees with what the body says of itself.
    pub(crate) fn check_scope(&self, scope: &Scope) -> Result<(), WireError> {
        self.check_job(scope.job.as_ref())?;
        self.check_round(scope.round)?;
        self.check_region(scope.region.as_ref())?;
        self.check_sender(scope.sender.as_ref())?;
        match scope.epoch {
            Some(expected) if expected != self.epoch => Err(WireError::Epoch {
                got: self.epoch,
                expected,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_job(&self, expected: Option<&JobId>) -> Result<(), WireError> {
        match expected {
            Some(expected) if self.job.as_ref() != Some(expected) => Err(WireError::Job {
                got: self.job.clone(),
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_round(&self, expected: Option<RoundNumber>) -> Result<(), WireError> {
        match expected {
            Some(expected) if self.round != Some(expected) => Err(WireError::Round {
                got: self.round,
                expected,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_region(&self, expected: Option<&RegionId>) -> Result<(), WireError> {
        match expected {
            Some(expected) if self.region.as_ref() != Some(expected) => Err(WireError::Region {
                got: self.region.clone(),
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_sender(&self, expected: Option<&MemberId>) -> Result<(), WireError> {
        match expected {
            Some(expected) if &self.sender != expected => Err(WireError::Sender {
                got: self.sender.clone(),
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Messages of the root come from the root.
    pub(crate) fn check_root(&self) -> Result<(), WireError> {
        if !self.kind.is_from_root() || self.sender.as_str() == ROOT_NAME {
            return Ok(());
        }
        Err(WireError::NotRoot {
            kind: self.kind,
            sender: self.sender.clone(),
        })
    }

    pub(crate) fn to_cose(&self) -> coset::Header {
        let mut header = HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .key_id(self.sender.as_str().as_bytes().to_vec())
            .value(label::VERSION, Value::from(self.version))
            .value(label::KIND, Value::from(self.kind.code()));
        if let Some(job) = &self.job {
            header = header.value(label::JOB, Value::from(job.as_str()));
        }
        if let Some(round) = self.round {
            header = header.value(label::ROUND, Value::from(round.0));
        }
        header = header.value(label::EPOCH, Value::from(self.epoch.0));
        if let Some(region) = &self.region {
            header = header.value(label::REGION, Value::from(region.as_str()));
        }
        if let Some(trace) = &self.trace {
            let bytes = [trace.trace_id.as_slice(), &trace.span_id].concat();
            header = header.value(label::TRACE, Value::from(bytes));
        }
        header.build()
    }

    /// Reads the header of a message whose version this build speaks.
    pub(crate) fn from_cose(cose: &coset::Header) -> Result<Self, WireError> {
        let fields = Fields(cose);
        let version = fields.number("version", label::VERSION)?;
        let spoken = VersionRange::SPOKEN;
        if !spoken.contains(version) {
            return Err(WireError::Version {
                got: version,
                min: spoken.min,
                max: spoken.max,
            });
        }
        let algorithm = RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA);
        if cose.alg.as_ref() != Some(&algorithm) {
            return Err(wrong("algorithm", "only EdDSA is spoken"));
        }
        let code: u8 = fields.number("kind", label::KIND)?;
        let unknown = || wrong("kind", format!("no kind of message has number {code}"));
        let sender = std::str::from_utf8(&cose.key_id).map_err(|error| wrong("sender", error))?;
        Ok(Self {
            version,
            kind: MessageKind::from_code(code).ok_or_else(unknown)?,
            job: fields.name("job", label::JOB, JobId::new)?,
            round: fields
                .optional_number("round", label::ROUND)?
                .map(RoundNumber),
            epoch: Epoch(fields.number("epoch", label::EPOCH)?),
            region: fields.name("region", label::REGION, RegionId::new)?,
            sender: MemberId::new(sender).map_err(|error| wrong("sender", error))?,
            trace: fields.trace()?,
        })
    }
}

fn wrong(field: &'static str, problem: impl ToString) -> WireError {
    WireError::HeaderField {
        field,
        problem: problem.to_string(),
    }
}

/// Reads our parameters out of a COSE header.
struct Fields<'a>(&'a coset::Header);

impl Fields<'_> {
    fn get(&self, label: i64) -> Option<&Value> {
        let label = Label::Int(label);
        let (_, value) = self.0.rest.iter().find(|(key, _)| *key == label)?;
        Some(value)
    }

    fn optional_number<T: TryFrom<i128>>(
        &self,
        field: &'static str,
        label: i64,
    ) -> Result<Option<T>, WireError> {
        let Some(value) = self.get(label) else {
            return Ok(None);
        };
        let number = value
            .as_integer()
            .ok_or_else(|| wrong(field, "not an integer"))?;
        let number = i128::from(number);
        let fits =
            T::try_from(number).map_err(|_| wrong(field, format!("{number} is out of range")))?;
        Ok(Some(fits))
    }

    fn number<T: TryFrom<i128>>(&self, field: &'static str, label: i64) -> Result<T, WireError> {
        self.optional_number(field, label)?
            .ok_or_else(|| wrong(field, "it is missing"))
    }

    fn name<T, E: ToString>(
        &self,
        field: &'static str,
        label: i64,
        new: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, WireError> {
        let Some(value) = self.get(label) else {
            return Ok(None);
        };
        let text = value.as_text().ok_or_else(|| wrong(field, "not a text"))?;
        new(text)
            .map(Some)
            .map_err(|error| wrong(field, error.to_string()))
    }

    fn trace(&self) -> Result<Option<TraceContext>, WireError> {
        let Some(value) = self.get(label::TRACE) else {
            return Ok(None);
        };
        let ids = value.as_bytes().and_then(|bytes| {
            let (trace_id, span_id) = bytes.split_at_checked(TRACE_ID_BYTES)?;
            Some(TraceContext {
                trace_id: trace_id.try_into().ok()?,
                span_id: span_id.try_into().ok()?,
            })
        });
        let bytes = TRACE_ID_BYTES + SPAN_ID_BYTES;
        ids.map(Some)
            .ok_or_else(|| wrong("trace", format!("not {bytes} bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_numbers_of_their_own() {
        for (i, a) in MessageKind::ALL.iter().enumerate() {
            assert_eq!(MessageKind::from_code(a.code()), Some(*a));
            for b in &MessageKind::ALL[..i] {
                assert_ne!(a.code(), b.code());
                assert_ne!(a.as_str(), b.as_str());
            }
        }
        assert_eq!(MessageKind::from_code(0), None);
    }
}
