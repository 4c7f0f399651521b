//! The signed message around every body: COSE_Sign1 with Ed25519.

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, TaggedCborSerializable};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use fl_model::{JobId, MemberId, RegionId, RoundKey, RoundNumber};

use crate::body::Body;
use crate::cbor::strict;
use crate::error::WireError;
use crate::header::{Header, MessageKind};

/// First byte of every message: the tag of COSE_Sign1, 18.
const COSE_SIGN1: u8 = 0xd2;

/// No external data is signed along: the header says all.
const NO_AAD: &[u8] = b"";

/// Signs a body under a header.
///
/// Refuses a header that disagrees with the body, a body that could not be read again, and a message
/// larger than its kind allows; such a refusal is a fault of the caller.
pub fn seal<B: Body>(header: &Header, body: &B, key: &SigningKey) -> Result<Vec<u8>, WireError> {
    check_kind(header.kind, body.kind())?;
    header.check_root()?;
    header.check_scope(&body.scope())?;
    let sealed = CoseSign1Builder::new()
        .protected(header.to_cose())
        .payload(body.encode()?)
        .create_signature(NO_AAD, |signed| key.sign(signed).to_bytes().to_vec())
        .build();
    let bytes = sealed
        .to_tagged_vec()
        .map_err(|error| WireError::Cose(error.to_string()))?;
    check_size(header.kind.as_str(), bytes.len(), header.kind.bytes_max())?;
    Ok(bytes)
}

/// A message of which nothing is believed yet.
#[derive(Debug, Clone)]
pub struct Envelope {
    header: Header,
    cose: CoseSign1,
}

impl Envelope {
    /// Reads the header of a message of at most `bytes_max` bytes.
    ///
    /// Control messages are bounded by their own limit besides. Takes memory in proportion to
    /// `bytes` and never by what the bytes claim.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Self, WireError> {
        check_size("message", bytes.len(), Some(bytes_max))?;
        let untagged = match bytes.split_first() {
            Some((&COSE_SIGN1, untagged)) => untagged,
            _ => return Err(WireError::Cose("it does not start with tag 18".to_owned())),
        };
        strict::check(untagged).map_err(|error| malformed("message", error))?;
        let header = strict::first_of_four(untagged)
            .ok_or_else(|| WireError::Cose("it is not an array of four parts".to_owned()))?;
        strict::check(header).map_err(|error| malformed("header", error))?;
        let cose = CoseSign1::from_slice(untagged).map_err(|e| WireError::Cose(e.to_string()))?;
        let header = read_header(&cose)?;
        check_size(header.kind.as_str(), bytes.len(), header.kind.bytes_max())?;
        Ok(Self { header, cose })
    }

    /// What the message claims to be: enough to look a key up, and not to be believed before
    /// [`Envelope::verify`].
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Checks the signature over the received bytes.
    pub fn verify(self, key: &VerifyingKey) -> Result<Verified, WireError> {
        let check = |signature: &[u8], signed: &[u8]| {
            let signature = Signature::from_slice(signature)?;
            key.verify_strict(signed, &signature)
        };
        match self.cose.verify_signature(NO_AAD, check) {
            Ok(()) => Ok(Verified {
                header: self.header,
                payload: self.cose.payload.unwrap_or_default(),
            }),
            Err(_) => Err(WireError::BadSignature {
                sender: self.header.sender,
            }),
        }
    }
}

/// The header, which must stand in the protected part in exactly our form.
fn read_header(cose: &CoseSign1) -> Result<Header, WireError> {
    let unlike = |what: &str| Err(WireError::Cose(what.to_owned()));
    let received = cose.protected.original_data.as_deref().unwrap_or_default();
    let header = Header::from_cose(&cose.protected.header)?;
    let written = header.to_cose().to_vec();
    if written.ok().as_deref() != Some(received) {
        return unlike("its protected header has parameters that are not of this version");
    }
    if !cose.unprotected.is_empty() {
        return unlike("its unprotected header is not empty");
    }
    if cose.payload.is_none() {
        return unlike("it has no body");
    }
    if cose.signature.len() != Signature::BYTE_SIZE {
        return unlike("its signature is not of 64 bytes");
    }
    header.check_root()?;
    Ok(header)
}

fn malformed(what: &'static str, error: crate::error::CborError) -> WireError {
    WireError::Cbor { what, error }
}

fn check_size(what: &'static str, bytes: usize, limit: Option<usize>) -> Result<(), WireError> {
    match limit {
        Some(limit) if bytes > limit => Err(WireError::Oversized { what, bytes, limit }),
        _ => Ok(()),
    }
}

fn check_kind(got: MessageKind, expected: MessageKind) -> Result<(), WireError> {
    if got == expected {
        return Ok(());
    }
    Err(WireError::Kind {
        got,
        expected: expected.to_string(),
    })
}

/// A message that its sender signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    header: Header,
    payload: Vec<u8>,
}

impl Verified {
    /// What the message is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Refuses a message that is not what was expected here, for example by its topic.
    pub fn check(&self, expected: &Expected) -> Result<(), WireError> {
        expected.check(&self.header)
    }

    /// Decodes the body and refuses one that disagrees with its header.
    pub fn open<B: Body>(&self) -> Result<B, WireError> {
        if !B::KINDS.contains(&self.header.kind) {
            let names: Vec<_> = B::KINDS.iter().map(|kind| kind.as_str()).collect();
            return Err(WireError::Kind {
                got: self.header.kind,
                expected: names.join(" or "),
            });
        }
        let body = B::decode(&self.payload)?;
        check_kind(self.header.kind, body.kind())?;
        self.header.check_scope(&body.scope())?;
        Ok(body)
    }
}

/// What a receiver knows of a message from where it came: what is none is not checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// The kind.
    pub kind: Option<MessageKind>,
    /// The job.
    pub job: Option<JobId>,
    /// The round.
    pub round: Option<RoundNumber>,
    /// The region.
    pub region: Option<RegionId>,
    /// The sender.
    pub sender: Option<MemberId>,
}

impl Expected {
    /// A message of that kind.
    pub fn kind(kind: MessageKind) -> Self {
        Self {
            kind: Some(kind),
            ..Self::default()
        }
    }

    /// A message from that sender.
    pub fn sender(sender: &MemberId) -> Self {
        Self {
            sender: Some(sender.clone()),
            ..Self::default()
        }
    }

    /// And from that sender.
    pub fn from_sender(mut self, sender: &MemberId) -> Self {
        self.sender = Some(sender.clone());
        self
    }

    /// And in that region.
    pub fn in_region(mut self, region: &RegionId) -> Self {
        self.region = Some(region.clone());
        self
    }

    /// And in that job.
    pub fn in_job(mut self, job: &JobId) -> Self {
        self.job = Some(job.clone());
        self
    }

    /// And in that phase's job and round.
    pub fn in_round(mut self, key: &RoundKey) -> Self {
        self.round = Some(key.round);
        self.in_job(&key.job)
    }

    /// Refuses a header that differs, with both values.
    pub fn check(&self, header: &Header) -> Result<(), WireError> {
        if let Some(kind) = self.kind {
            check_kind(header.kind, kind)?;
        }
        header.check_job(self.job.as_ref())?;
        header.check_round(self.round)?;
        header.check_region(self.region.as_ref())?;
        header.check_sender(self.sender.as_ref())
    }
}
