//! What can be wrong with a message.

use fl_model::{Epoch, JobId, MemberId, Reason, RegionId, RoundNumber};

use crate::header::MessageKind;

/// What makes bytes not the deterministic CBOR that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborFault {
    /// The bytes end inside an item.
    #[error("ends inside an item")]
    Truncated,
    /// A length exceeds the bytes that follow.
    #[error("claims a length beyond its end")]
    LengthBeyondEnd,
    /// Bytes follow the item.
    #[error("has bytes after its end")]
    TrailingBytes,
    /// A number, length or tag takes more bytes than it needs.
    #[error("has a number that is not in its shortest form")]
    NotMinimal,
    /// A float takes more bytes than it needs, or is a NaN with a payload.
    #[error("has a float that is not in its shortest form")]
    FloatNotMinimal,
    /// An indefinite length, or a break.
    #[error("has an indefinite length")]
    Indefinite,
    /// Keys of a map are out of order.
    #[error("has a map whose keys are not sorted")]
    UnsortedKeys,
    /// A key of a map comes twice.
    #[error("has a map with a key twice")]
    DuplicateKey,
    /// A key of a map is not an integer.
    #[error("has a map with a key that is not an integer")]
    KeyNotInteger,
    /// A map has too many keys.
    #[error("has a map of more than 64 keys")]
    TooManyKeys,
    /// Items are nested too deeply.
    #[error("is nested more than 16 deep")]
    TooDeep,
    /// A text string is not UTF-8.
    #[error("has text that is not UTF-8")]
    NotUtf8,
    /// A tag, or a typed array, that we do not use.
    #[error("has a tag that is not allowed there")]
    Tag,
    /// A simple value that we do not use.
    #[error("has a simple value other than false, true and null")]
    Simple,
}

/// Where bytes stop being the deterministic CBOR that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CBOR {fault} (at byte {offset})")]
pub struct CborError {
    /// Offset of the item in the checked bytes.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: CborFault,
}

/// Why a message cannot be sealed, read or believed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The message is larger than the plan or the protocol allows.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit} bytes")]
    Oversized {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The bytes are not deterministic CBOR.
    #[error("{what} is malformed: {error}")]
    Cbor {
        /// What it is.
        what: &'static str,
        /// What and where.
        error: CborError,
    },
    /// The bytes are CBOR but not a COSE_Sign1 as we write it.
    #[error("not a signed message of this protocol: {0}")]
    Cose(String),
    /// A field of the protected header is missing or cannot be read.
    #[error("header field {field} is wrong: {problem}")]
    HeaderField {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The message is of a version that this build does not speak.
    #[error(
        "message of protocol version {got}, this build speaks {min} to {max}: update the older side"
    )]
    Version {
        /// The message's version.
        got: u32,
        /// Lowest version spoken here.
        min: u32,
        /// Highest version spoken here.
        max: u32,
    },
    /// The signature is not the sender's over these bytes.
    #[error("signature does not fit the key of {sender}")]
    BadSignature {
        /// Who claims to have sent it.
        sender: MemberId,
    },
    /// A message that only the root may send came from another.
    #[error("{kind} messages come from the root only, this one from {sender}")]
    NotRoot {
        /// What the message is.
        kind: MessageKind,
        /// Who sent it.
        sender: MemberId,
    },
    /// The message is of another kind.
    #[error("message is a {got}, expected {expected}")]
    Kind {
        /// Its kind.
        got: MessageKind,
        /// What was expected.
        expected: String,
    },
    /// The message belongs to another job.
    #[error("message belongs to job {}, expected {expected}", text(got))]
    Job {
        /// Its job.
        got: Option<JobId>,
        /// What was expected.
        expected: JobId,
    },
    /// The message belongs to another round.
    #[error("message belongs to round {}, expected {expected}", text(got))]
    Round {
        /// Its round.
        got: Option<RoundNumber>,
        /// What was expected.
        expected: RoundNumber,
    },
    /// The message belongs to another region.
    #[error("message belongs to region {}, expected {expected}", text(got))]
    Region {
        /// Its region.
        got: Option<RegionId>,
        /// What was expected.
        expected: RegionId,
    },
    /// The message comes from another sender.
    #[error("message comes from {got}, expected {expected}")]
    Sender {
        /// Its sender.
        got: MemberId,
        /// What was expected.
        expected: MemberId,
    },
    /// The message is of another epoch.
    #[error("message is of epoch {got}, expected {expected}")]
    Epoch {
        /// Its epoch.
        got: Epoch,
        /// What was expected.
        expected: Epoch,
    },
    /// The body is CBOR but not what its kind says.
    #[error("{what} cannot be decoded: {problem}")]
    Body {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A value is outside of what its field allows.
    #[error("{what} is out of range: {problem}")]
    Value {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn text(value: &Option<impl ToString>) -> String {
    value
        .as_ref()
        .map_or_else(|| "none".to_owned(), ToString::to_string)
}

impl WireError {
    /// The reason with which a message in this state is rejected.
    pub fn reason(&self) -> Reason {
        match self {
            WireError::Oversized { .. } => Reason::Oversized,
            WireError::BadSignature { .. } => Reason::BadSignature,
            WireError::NotRoot { .. }
            | WireError::Kind { .. }
            | WireError::Job { .. }
            | WireError::Round { .. }
            | WireError::Region { .. }
            | WireError::Sender { .. } => Reason::Foreign,
            WireError::Epoch { .. } => Reason::Stale,
            WireError::Cbor { .. }
            | WireError::Cose(_)
            | WireError::HeaderField { .. }
            | WireError::Version { .. }
            | WireError::Body { .. }
            | WireError::Value { .. } => Reason::Malformed,
        }
    }

    pub(crate) fn value(what: &'static str, problem: impl ToString) -> Self {
        WireError::Value {
            what,
            problem: problem.to_string(),
        }
    }
}
