//! How the federation speaks: signed CBOR messages, topics, subjects, chunks and limits.
//!
//! A message is one COSE_Sign1 (RFC 9052) with an Ed25519 signature. Its protected header says what it
//! is, for which job, round and region, under which epoch and from whom; its payload is a body in
//! deterministically encoded CBOR (RFC 8949, section 4.2). The way in is always the same:
//!
//! 1. [`Envelope::parse`] reads the header, without trusting it, so that the sender's key can be looked up;
//! 2. [`Envelope::verify`] checks the signature over exactly the received bytes;
//! 3. [`Verified::check`] compares the header with the topic or subject the message came under;
//! 4. [`Verified::open`] decodes the body and refuses one that disagrees with its header.
//!
//! Nothing here trusts a length that a peer claims, and no bytes make it panic. The types of the
//! domain are `fl-model`'s; what only the wire knows is defined here.

mod body;
mod cbor;
mod chunks;
mod envelope;
mod error;
mod header;
pub mod limits;
mod messages;
mod mirror;
mod objects;
mod pending;
pub mod subjects;
pub mod topics;
mod traceparent;
mod version;

pub use body::{Body, Encoded, Scope};
pub use chunks::{Assembler, ChunkError, Chunker, Placed};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use envelope::{Envelope, Expected, Verified, seal};
pub use error::{CborError, CborFault, WireError};
pub use header::{Header, MessageKind};
pub use messages::{
    Answer, AttributeValue, Beat, Decline, FogBeat, Hello, Manifest, Receipt, RoundSettled,
    SettledNotice, SpanBatch, SpanEvent, Want, Welcome, WireSpan,
};
pub use objects::{
    EnvelopeList, MomentsObject, ParameterObject, SnapshotObject, contribution_bytes_max,
    partial_bytes_max,
};
pub use pending::{LocalObject, LocalParameters, PendingObject, PendingUpdate, ResidualObject};
pub use traceparent::{TRACEPARENT, parse_traceparent, traceparent};
pub use version::{NoCommonVersion, PROTOCOL, VersionRange};
