//! What JetStream holds: the job's log, what goes down to the regions, their partials, and objects.

use std::collections::BTreeMap;

use fl_aggregate::Moments;
use fl_model::{
    Digest, LogEntry, ObjectRef, PartialSum, Reason, RegionId, RoundKey, RoundOutcome, RoundPlan,
};

/// A message to a region. One per subject is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DownMessage {
    Plan(Box<RoundPlan>),
    /// Under the plan's subject.
    Ended,
    Settled {
        key: RoundKey,
        outcome: RoundOutcome,
        accepted: Option<Digest>,
        absent: Option<Reason>,
    },
}

impl DownMessage {
    fn subject(&self) -> Option<&RoundKey> {
        match self {
            DownMessage::Plan(_) | DownMessage::Ended => None,
            DownMessage::Settled { key, .. } => Some(key),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct StoredPartial {
    pub(crate) partial: PartialSum,
    pub(crate) digest: Digest,
}

#[derive(Debug, Default)]
pub(crate) struct Nats {
    pub(crate) log: Vec<LogEntry>,
    down: BTreeMap<RegionId, BTreeMap<u64, DownMessage>>,
    sequence: u64,
    /// In the order in which they were published.
    pub(crate) partials: Vec<StoredPartial>,
    parameters: BTreeMap<Digest, Vec<Vec<f32>>>,
    moments: BTreeMap<Digest, Moments>,
}

impl Nats {
    /// Appends where the log has that many entries; another root has written otherwise.
    pub(crate) fn append(&mut self, expected: usize, entry: LogEntry) -> bool {
        let leads = self.log.len() == expected;
        if leads {
            self.log.push(entry);
        }
        leads
    }

    pub(crate) fn publish_down(&mut self, region: &RegionId, message: DownMessage) {
        self.sequence += 1;
        let kept = self.down.entry(region.clone()).or_default();
        kept.retain(|_, other| other.subject() != message.subject());
        kept.insert(self.sequence, message);
    }

    /// The first message to the region after that sequence.
    pub(crate) fn down_after(&self, region: &RegionId, cursor: u64) -> Option<(u64, &DownMessage)> {
        let (sequence, message) = self.down.get(region)?.range(cursor + 1..).next()?;
        Some((*sequence, message))
    }

    /// Stores a region's first partial of a phase; says whether it is the one that is there now.
    pub(crate) fn publish_partial(&mut self, stored: StoredPartial) -> bool {
        let partial = &stored.partial;
        let same = |other: &&StoredPartial| {
            other.partial.key == partial.key && other.partial.region == partial.region
        };
        if let Some(before) = self.partials.iter().find(same) {
            return before.digest == stored.digest;
        }
        self.partials.push(stored);
        true
    }

    pub(crate) fn partial(&self, digest: Digest) -> Option<&StoredPartial> {
        self.partials.iter().find(|stored| stored.digest == digest)
    }

    pub(crate) fn put_parameters(&mut self, parameters: Vec<Vec<f32>>) -> ObjectRef {
        let object = ObjectRef::to(&bytes_of(&parameters));
        self.parameters.insert(object.digest, parameters);
        object
    }

    pub(crate) fn parameters(&self, object: ObjectRef) -> &[Vec<f32>] {
        &self.parameters[&object.digest]
    }

    pub(crate) fn put_moments(&mut self, moments: Moments) -> ObjectRef {
        let mut bytes = bytes_of(&moments.first);
        bytes.extend(bytes_of(&moments.second));
        let object = ObjectRef::to(&bytes);
        self.moments.insert(object.digest, moments);
        object
    }

    pub(crate) fn moments(&self, object: Option<ObjectRef>) -> Moments {
        object.map_or_else(Moments::default, |object| {
            self.moments[&object.digest].clone()
        })
    }
}

fn bytes_of(tensors: &[Vec<f32>]) -> Vec<u8> {
    let values = tensors.iter().flatten();
    values.flat_map(|value| value.to_le_bytes()).collect()
}
