//! The way in: from bytes on a topic to what the root or the region's fog signed.

use fl_model::{
    ContributionKey, DeviceId, JobId, MemberId, ROOT_NAME, RegionId, Role, RosterEntry, RoundPlan,
};
use fl_wire::limits::CONTROL_BYTES_MAX;
use fl_wire::topics::{Broadcast, ChunkName, Down, Place, Topic};
use fl_wire::{
    Body, Envelope, Expected, Manifest, MessageKind, Receipt, SettledNotice, VerifyingKey, Want,
    Welcome, WireError,
};

/// What came in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Incoming {
    /// A plan of the root.
    Plan(Box<RoundPlan>),
    /// The job's plan was taken back.
    PlanCleared(JobId),
    /// The region's fog, as the root names it.
    Fog(MemberId),
    /// The fog's answer to a hello.
    Welcome(Welcome),
    /// The fog's answer to a contribution.
    Receipt(Receipt),
    /// What became of a contribution.
    Settled(SettledNotice),
    /// An object follows in chunks.
    Manifest(Manifest),
    /// A chunk; checked against its manifest.
    Chunk(ChunkName),
    /// The fog misses chunks of a contribution.
    Want(Want),
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not for devices, or of another region or device.
    #[error("topic {0:?} is not for this device")]
    Topic(String),
    /// It is no message, or not what its topic says.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A plan that another root signed.
    #[error(
        "a plan for job {job} is not signed by the root whose key is pinned: ignored; \
         if the root has changed, put its key into root.public_key"
    )]
    ForeignRoot {
        /// The job.
        job: JobId,
    },
    /// The root names somebody who is not a fog of this region.
    #[error("{member} is announced as the region's fog, but its roster entry says otherwise")]
    NotOurFog {
        /// Who.
        member: MemberId,
    },
    /// The fog is not known yet, so nothing of it can be believed.
    #[error("the root's entry for the region's fog has not arrived yet")]
    NoFog,
    /// A plan that cannot be followed.
    #[error("the plan {key} cannot be followed: {why}")]
    Plan {
        /// Its phase.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A fog's answer about another device's contribution.
    #[error("a message about {0} came to this device")]
    OtherDevice(ContributionKey),
}

impl Refusal {
    /// Whether a person should look: not for what is merely early.
    pub(crate) fn is_worth_a_warning(&self) -> bool {
        !matches!(self, Refusal::NoFog)
    }
}

struct Fog {
    member: MemberId,
    key: VerifyingKey,
    number: u64,
}

/// Knows whom to believe.
pub(crate) struct Door {
    device: DeviceId,
    region: RegionId,
    root: MemberId,
    root_key: VerifyingKey,
    fog: Option<Fog>,
}

impl Door {
    /// Believes the root with that key, and nobody else yet.
    pub(crate) fn new(device: &DeviceId, region: &RegionId, root_key: VerifyingKey) -> Self {
        // The name is a constant that satisfies the rules for names; a test says so.
        let root = MemberId::new(ROOT_NAME).unwrap_or_else(|_| device.clone());
        Self {
            device: device.clone(),
            region: region.clone(),
            root,
            root_key,
            fog: None,
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Refusal`]; no bytes make it panic.
    pub(crate) fn read(&mut self, topic: &str, payload: &[u8]) -> Result<Incoming, Refusal> {
        let not_ours = || Refusal::Topic(topic.chars().take(TOPIC_SHOWN_MAX).collect());
        let parsed: Topic = topic.parse().map_err(|_| not_ours())?;
        if parsed.region != self.region {
            return Err(not_ours());
        }
        match parsed.place {
            Place::Broadcast(Broadcast::Plan(job)) if payload.is_empty() => {
                Ok(Incoming::PlanCleared(job))
            }
            Place::Broadcast(Broadcast::Plan(job)) => self.plan(job, payload),
            Place::Broadcast(Broadcast::Fog) => self.meet_fog(payload),
            Place::Broadcast(Broadcast::Manifest(digest)) => {
                let manifest: Manifest = self.of_fog(payload, MessageKind::Manifest)?;
                match manifest.object.digest == digest {
                    true => Ok(Incoming::Manifest(manifest)),
                    false => Err(not_ours()),
                }
            }
            Place::Broadcast(Broadcast::Chunk(name)) => Ok(Incoming::Chunk(name)),
            Place::Down(device, down) if device == self.device => self.down(down, payload),
            _ => Err(not_ours()),
        }
    }

    fn plan(&self, job: JobId, payload: &[u8]) -> Result<Incoming, Refusal> {
        let expected = Expected::kind(MessageKind::Plan).in_job(&job);
        let plan: RoundPlan = match self.of_root(payload, expected) {
            Err(Refusal::Wire(WireError::BadSignature { .. })) => {
                return Err(Refusal::ForeignRoot { job });
            }
            plan => plan?,
        };
        match plan.check_overflow() {
            Ok(()) => Ok(Incoming::Plan(Box::new(plan))),
            Err(overflow) => Err(Refusal::Plan {
                key: plan.key.to_string(),
                why: overflow.to_string(),
            }),
        }
    }

    /// Takes the root's word for who the fog is; a later entry replaces an earlier one.
    fn meet_fog(&mut self, payload: &[u8]) -> Result<Incoming, Refusal> {
        let expected = Expected::kind(MessageKind::RosterEntry);
        let entry: RosterEntry = self.of_root(payload, expected)?;
        let member = entry.member.clone();
        let ours = entry.role == Role::Fog && entry.region == self.region && !entry.removed;
        let key = VerifyingKey::from_bytes(&entry.key);
        let (true, Ok(key)) = (ours, key) else {
            return Err(Refusal::NotOurFog { member });
        };
        let newer = |fog: &Fog| entry.number > fog.number;
        if self.fog.as_ref().is_none_or(newer) {
            self.fog = Some(Fog {
                member: member.clone(),
                key,
                number: entry.number,
            });
        }
        Ok(Incoming::Fog(member))
    }

    fn down(&self, down: Down, payload: &[u8]) -> Result<Incoming, Refusal> {
        let ours = |key: &ContributionKey| match key.device == self.device {
            true => Ok(()),
            false => Err(Refusal::OtherDevice(key.clone())),
        };
        Ok(match down {
            Down::Welcome => {
                let welcome: Welcome = self.of_fog(payload, MessageKind::Welcome)?;
                welcome.answers.iter().try_for_each(|(key, _)| ours(key))?;
                Incoming::Welcome(welcome)
            }
            Down::Receipt => {
                let receipt: Receipt = self.of_fog(payload, MessageKind::Receipt)?;
                ours(&receipt.key)?;
                Incoming::Receipt(receipt)
            }
            Down::Settled => {
                let settled: SettledNotice = self.of_fog(payload, MessageKind::SettledNotice)?;
                ours(&settled.key)?;
                Incoming::Settled(settled)
            }
            Down::Manifest => Incoming::Manifest(self.of_fog(payload, MessageKind::Manifest)?),
            Down::Chunk(name) => Incoming::Chunk(name),
            Down::Want => Incoming::Want(self.of_fog(payload, MessageKind::Want)?),
        })
    }

    fn of_root<B: Body>(&self, payload: &[u8], expected: Expected) -> Result<B, Refusal> {
        let expected = expected.from_sender(&self.root);
        self.open(payload, &expected, &self.root_key)
    }

    fn of_fog<B: Body>(&self, payload: &[u8], kind: MessageKind) -> Result<B, Refusal> {
        let fog = self.fog.as_ref().ok_or(Refusal::NoFog)?;
        let expected = Expected::kind(kind)
            .from_sender(&fog.member)
            .in_region(&self.region);
        self.open(payload, &expected, &fog.key)
    }

    fn open<B: Body>(
        &self,
        payload: &[u8],
        expected: &Expected,
        key: &VerifyingKey,
    ) -> Result<B, Refusal> {
        let envelope = Envelope::parse(payload, CONTROL_BYTES_MAX)?;
        expected.check(envelope.header())?;
        Ok(envelope.verify(key)?.open()?)
    }
}

/// Longest piece of a topic that a message shows, in characters.
const TOPIC_SHOWN_MAX: usize = 120;

#[cfg(test)]
mod tests;
