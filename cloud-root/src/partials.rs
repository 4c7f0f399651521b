//! The door for partial sums: whose they are, whether they are whole, and what is kept of a bad one.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use fl_model::{Digest, PartialSum, RegionId, Role, RoundPlan};
use fl_runtime::nats::ObjectError;
use fl_runtime::store::{Access, write_atomic};
use fl_wire::{Envelope, Expected, Manifest, MessageKind, VerifyingKey, partial_bytes_max};

use crate::jobs::Office;
use crate::roster::RosterFile;

/// Most bad messages that are kept to be looked at.
const QUARANTINE_FILES_MAX: usize = 64;

/// Largest bad message that is kept.
const QUARANTINE_BYTES_MAX: usize = 8 << 20;

/// A partial with a valid signature.
pub(crate) struct Read {
    pub(crate) partial: PartialSum,
    /// SHA-256 of the signed bytes.
    pub(crate) digest: Digest,
    /// Their length.
    pub(crate) bytes: u64,
}

/// Reads partials, and keeps bad ones aside.
pub(crate) struct Door {
    quarantine: PathBuf,
}

impl Door {
    pub(crate) fn new(office: &Office) -> Self {
        Self {
            quarantine: office.home.quarantine_folder(),
        }
    }

    /// Checks a partial against the region's fog in the roster and the plan; a message may also be a
    /// signed manifest of the object that holds it.
    pub(crate) async fn read(
        &self,
        office: &Office,
        roster: &RosterFile,
        plan: &RoundPlan,
        region: &RegionId,
        payload: Bytes,
    ) -> anyhow::Result<Read> {
        let read = self.try_read(office, roster, plan, region, &payload).await;
        if let Err(refusal) = &read {
            self.keep(&payload, &format!("{refusal:#}"));
        }
        read
    }

    async fn try_read(
        &self,
        office: &Office,
        roster: &RosterFile,
        plan: &RoundPlan,
        region: &RegionId,
        payload: &[u8],
    ) -> anyhow::Result<Read> {
        let members = roster.members();
        let fog = members
            .values()
            .find(|e| e.role == Role::Fog && e.region == *region);
        let fog = fog.with_context(|| format!("region {region} has no fog in the roster"))?;
        let key = VerifyingKey::from_bytes(&fog.key).context("the fog's key in the roster")?;
        let devices = members.len().max(plan.contributions_max as usize);
        let bytes_max = partial_bytes_max(plan, devices);
        let expected = Expected::sender(&fog.member)
            .in_region(region)
            .in_round(&plan.key);
        let envelope = Envelope::parse(payload, bytes_max.min(payload.len()))?;
        if envelope.header().kind != MessageKind::Manifest {
            return open(payload, bytes_max, &key, &expected);
        }
        let verified = envelope.verify(&key)?;
        verified.check(&expected)?;
        let manifest: Manifest = verified.open()?;
        ensure!(
            manifest.object.bytes <= bytes_max as u64,
            "it has {} bytes, the plan allows {bytes_max}",
            manifest.object.bytes
        );
        let whole = match office.voice.nats.get_object(&manifest.object).await {
            Err(ObjectError::NotFound(digest)) => bail!("object {digest} is not in the bucket"),
            Err(_) => office.object(&manifest.object).await?,
            Ok(whole) => whole,
        };
        open(&whole, bytes_max, &key, &expected)
    }

    /// Keeps a bad message with its reason; a full folder keeps what it has.
    fn keep(&self, payload: &[u8], reason: &str) {
        let count = std::fs::read_dir(&self.quarantine).map_or(0, Iterator::count);
        if count >= 2 * QUARANTINE_FILES_MAX || payload.len() > QUARANTINE_BYTES_MAX {
            return;
        }
        let name = Digest::of(payload).to_string();
        let kept = std::fs::create_dir_all(&self.quarantine)
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                write_atomic(&self.quarantine.join(&name), payload, Access::Umask)?;
                let reason = format!("{reason}\n");
                let file = self.quarantine.join(format!("{name}.txt"));
                Ok(write_atomic(&file, reason.as_bytes(), Access::Umask)?)
            });
        if let Err(error) = kept {
            tracing::warn!("a bad message could not be kept: {error:#}");
        }
    }
}

fn open(
    signed: &[u8],
    bytes_max: usize,
    key: &VerifyingKey,
    expected: &Expected,
) -> anyhow::Result<Read> {
    let verified = Envelope::parse(signed, bytes_max)?.verify(key)?;
    verified.check(expected)?;
    Ok(Read {
        partial: verified.open()?,
        digest: Digest::of(signed),
        bytes: signed.len() as u64,
    })
}
