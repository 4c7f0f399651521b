//! The way in: from bytes on a topic to what a device of the region signed.
//!
//! A refusal says whether it can be held against the device: only what carries its own signature can.
//! Anything else may have been sent by somebody else under its name, and costs the device nothing.

use fl_model::{Contribution, DeviceId, Digest, Phase, Reason, RegionId, RoundKey};
use fl_wire::limits::{CONTROL_BYTES_MAX, MQTT_PAYLOAD_BYTES_MAX};
use fl_wire::topics::{ChunkName, ONLINE, Place, Topic, Up};
use fl_wire::{
    Beat, Body, Decline, Envelope, Expected, Header, Hello, Manifest, MessageKind, SpanBatch,
    Verified, Want, WireError,
};

use crate::roster::Roster;

/// What came in from a device.
#[derive(Debug)]
pub enum Arrival {
    /// Its connection came up or was lost, as the broker says.
    Presence(bool),
    /// It introduces itself.
    Hello(Hello),
    /// It lives.
    Beat(Beat),
    /// Its part of a phase.
    Contribution(Box<SignedContribution>),
    /// Its part of this phase follows in chunks.
    Manifest(RoundKey, Manifest),
    /// One of those chunks; checked against its manifest.
    Chunk(ChunkName),
    /// It asks for an object.
    Want(Want),
    /// It does not take part.
    Decline(Decline),
    /// What it measured of itself.
    Spans(SpanBatch),
}

/// A contribution whose signature is its device's.
#[derive(Debug)]
pub struct SignedContribution {
    /// What it says.
    pub contribution: Contribution,
    /// SHA-256 of the signed bytes.
    pub digest: Digest,
    /// Their length.
    pub bytes: u64,
}

/// A message that is not taken, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Under whose name it came, where the topic has one.
    pub device: Option<DeviceId>,
    /// Whether the device signed it: only then it counts against the device.
    pub signed: bool,
    /// Whether it was a contribution, or the manifest of one: such a sender gets a receipt.
    pub contribution: bool,
    /// The phase that it names, where that could be read.
    pub key: Option<RoundKey>,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The reason.
    pub reason: Reason,
    /// The same in full, for the log.
    pub why: String,
}

/// What the door needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// This region.
    pub region: &'a RegionId,
    /// Its devices' keys.
    pub roster: &'a Roster,
    /// The open phase, and the largest contribution that its plan allows, in bytes.
    pub open: Option<(&'a RoundKey, usize)>,
}

impl Door<'_> {
    /// Reads a message; none where the topic is not one that devices speak on.
    ///
    /// # Errors
    /// [`Refusal`]; no bytes make it panic.
    pub fn read(&self, topic: &str, payload: &[u8]) -> Result<(DeviceId, Arrival), Box<Refusal>> {
        let foreign = |why: String| {
            Box::new(Refusal {
                device: None,
                signed: false,
                contribution: false,
                key: None,
                digest: Digest::of(payload),
                reason: Reason::Foreign,
                why,
            })
        };
        let topic: Topic = topic.parse().map_err(|error| foreign(format!("{error}")))?;
        if topic.region != *self.region {
            return Err(foreign(format!("topic {topic} is of another region")));
        }
        match topic.place {
            Place::Presence(device) => Ok((device, Arrival::Presence(payload == ONLINE))),
            Place::Up(device, up) => {
                let arrival = self.read_up(&device, up, payload)?;
                Ok((device, arrival))
            }
            place => Err(foreign(format!("{place:?} is not for fogs"))),
        }
    }

    fn read_up(&self, device: &DeviceId, up: Up, payload: &[u8]) -> Result<Arrival, Box<Refusal>> {
        let by_kind = |kind| self.verify(device, payload, Some(kind));
        match up {
            Up::Hello => body(
                device,
                payload,
                by_kind(MessageKind::Hello)?,
                Arrival::Hello,
            ),
            Up::Beat => body(device, payload, by_kind(MessageKind::Beat)?, Arrival::Beat),
            Up::Want => body(device, payload, by_kind(MessageKind::Want)?, Arrival::Want),
            Up::Decline => body(
                device,
                payload,
                by_kind(MessageKind::Decline)?,
                Arrival::Decline,
            ),
            Up::Spans => body(
                device,
                payload,
                by_kind(MessageKind::Spans)?,
                Arrival::Spans,
            ),
            Up::Contribution => self
                .contribution(device, payload)
                .map(|signed| Arrival::Contribution(Box::new(signed))),
            Up::Manifest => self.manifest(device, payload),
            Up::Chunk(name) => {
                // Chunks carry no signature; they are checked against the manifest, which does.
                self.known(device, payload, false)?;
                Ok(Arrival::Chunk(name))
            }
        }
    }

    /// Reads the signed bytes of a contribution, in one message or put together from chunks.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn contribution(
        &self,
        device: &DeviceId,
        signed: &[u8],
    ) -> Result<SignedContribution, Box<Refusal>> {
        let verified = self.verify(device, signed, None)?;
        // What belongs to another phase is not measured by this one: how it ended is its answer.
        let bytes_max = self
            .bytes_max_of(round_of(verified.header()).as_ref())
            .unwrap_or(MQTT_PAYLOAD_BYTES_MAX);
        if signed.len() > bytes_max {
            let error = WireError::Oversized {
                what: "contribution",
                bytes: signed.len(),
                limit: bytes_max,
            };
            return Err(refusal(
                device,
                signed,
                Some(verified.header()),
                true,
                &error,
            ));
        }
        let contribution = verified.open::<Contribution>();
        let contribution = contribution
            .map_err(|error| refusal(device, signed, Some(verified.header()), true, &error))?;
        Ok(SignedContribution {
            contribution,
            digest: Digest::of(signed),
            bytes: signed.len() as u64,
        })
    }

    fn manifest(&self, device: &DeviceId, payload: &[u8]) -> Result<Arrival, Box<Refusal>> {
        let verified = self.verify(device, payload, Some(MessageKind::Manifest))?;
        let header = Some(verified.header());
        let refused = |contribution, error: WireError| Refusal {
            contribution,
            ..*refusal(device, payload, header, true, &error)
        };
        let manifest = verified.open::<Manifest>();
        let mut manifest = manifest.map_err(|error| refused(true, error))?;
        let Some(key) = manifest.contribution_to.take() else {
            let (what, problem) = ("manifest", "it does not say to which phase".to_owned());
            return Err(Box::new(refused(false, WireError::Value { what, problem })));
        };
        let limit = self.bytes_max_of(Some(&key));
        match limit.filter(|&limit| manifest.object.bytes > limit as u64) {
            None => Ok(Arrival::Manifest(key, manifest)),
            Some(limit) => {
                let error = WireError::Oversized {
                    what: "contribution in chunks",
                    bytes: usize::try_from(manifest.object.bytes).unwrap_or(usize::MAX),
                    limit,
                };
                Err(Box::new(Refusal {
                    key: Some(key),
                    // The receipt names what the device has stored: the whole, not its manifest.
                    digest: manifest.object.digest,
                    ..refused(true, error)
                }))
            }
        }
    }

    /// The largest contribution to that phase, in bytes, where it is the open one.
    fn bytes_max_of(&self, key: Option<&RoundKey>) -> Option<usize> {
        let (open, bytes_max) = self.open?;
        (key == Some(open)).then_some(bytes_max)
    }

    /// The device's signature over `bytes`; `kind` is the one expected, none for contributions.
    fn verify(
        &self,
        device: &DeviceId,
        bytes: &[u8],
        kind: Option<MessageKind>,
    ) -> Result<Verified, Box<Refusal>> {
        let is_contribution = kind.is_none();
        self.known(device, bytes, is_contribution)?;
        let bytes_max = match kind {
            Some(_) => CONTROL_BYTES_MAX,
            None => self
                .open
                .map_or(0, |(_, bytes_max)| bytes_max)
                .max(MQTT_PAYLOAD_BYTES_MAX),
        };
        let unsigned = |header: Option<&Header>, error: &WireError| Refusal {
            contribution: is_contribution,
            ..*refusal(device, bytes, header, false, error)
        };
        let envelope = Envelope::parse(bytes, bytes_max).map_err(|error| unsigned(None, &error))?;
        let header = envelope.header().clone();
        let expected = Expected {
            kind,
            ..Expected::sender(device).in_region(self.region)
        };
        // Whose name is on it comes first: the key of another would not fit anyway.
        expected
            .check(&header)
            .map_err(|error| unsigned(Some(&header), &error))?;
        let key = self.roster.device_key(device);
        // `known` has found it.
        let key =
            key.ok_or_else(|| Box::new(unknown(device, self.region, bytes, is_contribution)))?;
        let verified = envelope.verify(key);
        Ok(verified.map_err(|error| unsigned(Some(&header), &error))?)
    }

    fn known(
        &self,
        device: &DeviceId,
        bytes: &[u8],
        contribution: bool,
    ) -> Result<(), Box<Refusal>> {
        match self.roster.device_key(device) {
            Some(_) => Ok(()),
            None => Err(Box::new(unknown(device, self.region, bytes, contribution))),
        }
    }
}

fn body<B: Body>(
    device: &DeviceId,
    bytes: &[u8],
    verified: Verified,
    arrival: fn(B) -> Arrival,
) -> Result<Arrival, Box<Refusal>> {
    let body = verified.open::<B>();
    body.map(arrival).map_err(|error| {
        Box::new(Refusal {
            contribution: false,
            ..*refusal(device, bytes, Some(verified.header()), true, &error)
        })
    })
}

fn refusal(
    device: &DeviceId,
    bytes: &[u8],
    header: Option<&Header>,
    signed: bool,
    error: &WireError,
) -> Box<Refusal> {
    Box::new(Refusal {
        device: Some(device.clone()),
        signed,
        contribution: true,
        key: header.and_then(round_of),
        digest: Digest::of(bytes),
        reason: error.reason(),
        why: error.to_string(),
    })
}

fn unknown(device: &DeviceId, region: &RegionId, bytes: &[u8], contribution: bool) -> Refusal {
    Refusal {
        device: Some(device.clone()),
        signed: false,
        contribution,
        key: None,
        digest: Digest::of(bytes),
        reason: Reason::UnknownSender,
        why: format!(
            "{device} is not in this region's roster: add it with `cloud-root roster add {device} KEY --role device --region {region}`"
        ),
    }
}

/// The phase that a contribution's header names.
fn round_of(header: &Header) -> Option<RoundKey> {
    let is_of = |phase: &Phase| MessageKind::contribution(*phase) == header.kind;
    Some(RoundKey {
        job: header.job.clone()?,
        round: header.round?,
        phase: Phase::ALL.into_iter().find(is_of)?,
    })
}

#[cfg(test)]
mod tests;
