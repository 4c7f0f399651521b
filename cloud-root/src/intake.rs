//! A running job's partials on their way to its state machine.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use fl_model::{Digest, ObjectRef, Reason, RegionId, RoundKey, RoundPlan};
use fl_round::{PartialRefusal, RootEvent, RootRound};
use fl_runtime::nats::{ObjectError, StoredMessage, Stream};
use fl_wire::subjects::{ONLY_SHARD, Subject, partials_filter};
use tokio::task::JoinSet;

use crate::office::Office;
use crate::partials::{self, Door, Found, Quarantine, Read, Refusal};
use crate::patience::{MayPass, until_answered};
use crate::roster::RosterFile;

/// What was read aside, with its bytes, or why the job cannot go on.
type Fetched = anyhow::Result<Option<(RootEvent, Bytes)>>;

/// Reads partials; what has to be fetched is fetched aside, so that the job hears of other things.
pub(crate) struct Intake {
    office: Arc<Office>,
    fetching: JoinSet<Fetched>,
    /// The bytes of the event that was given out last.
    last: Bytes,
    /// Objects of the open phase, whatever became of what they hold.
    held: Vec<ObjectRef>,
}

impl Intake {
    pub(crate) fn new(office: Arc<Office>) -> Self {
        Self {
            office,
            fetching: JoinSet::new(),
            last: Bytes::new(),
            held: Vec::new(),
        }
    }

    /// Looks at a message of the partials' stream.
    pub(crate) fn receive(
        &mut self,
        root: &RootRound,
        message: &StoredMessage,
    ) -> Option<RootEvent> {
        let Ok(Subject::Partial(key, region, _)) = message.subject.parse() else {
            tracing::warn!("a message on {} is not for this version", message.subject);
            return None;
        };
        let plan = match use_of(root, &key, &region) {
            Use::Read(plan) => plan,
            Use::Settled => {
                self.office.sweep.partials(partials_filter(&key));
                return None;
            }
            Use::None => return None,
        };
        let door = Door::of(&self.office.roster.borrow(), plan, &region);
        let found = door.and_then(|door| Ok((door.look(&message.payload)?, door)));
        match found {
            Ok((Found::Whole(read), _)) => {
                self.last = message.payload.clone();
                Some(event(*read))
            }
            Ok((Found::Held(object), door)) => {
                self.held.push(object);
                self.fetching
                    .spawn(fetch(self.office.clone(), door, object));
                None
            }
            Err(refusal) => {
                if let Refusal::Foreign(_) = refusal {
                    let subject = message.subject.clone();
                    self.office.sweep.intruder(subject, message.sequence);
                }
                refused(&self.office, key, region, refusal, &message.payload)
            }
        }
    }

    /// Reads a partial again that the log has accepted.
    pub(crate) fn restore(&mut self, key: RoundKey, region: RegionId, object: ObjectRef) {
        let office = self.office.clone();
        self.fetching.spawn(async move {
            let read = accepted(&office, &key, &region, object).await;
            let digest = object.digest.short();
            let read = read.with_context(|| {
                format!("the log has accepted partial {digest} of {key} from region {region}")
            });
            Ok(Some((event(read?), Bytes::new())))
        });
    }

    /// Keeps a partial aside that the state machine has refused.
    pub(crate) fn refused(&self, region: &RegionId, digest: Digest, refusal: PartialRefusal) {
        tracing::warn!(
            "partial {} of region {region} is not taken: {refusal}",
            digest.short()
        );
        if Digest::of(&self.last) == digest {
            Quarantine::of(&self.office.home).keep(&self.last, &refusal.to_string());
        }
    }

    /// What was fetched next; never while nothing is on its way. May be dropped and called anew.
    pub(crate) async fn fetched(&mut self) -> anyhow::Result<Option<RootEvent>> {
        loop {
            match self.fetching.join_next().await {
                Some(Ok(fetched)) => {
                    return Ok(fetched?.map(|(event, signed)| {
                        self.last = signed;
                        event
                    }));
                }
                // Of a phase that is over.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return Err(error.into()),
                None => std::future::pending().await,
            }
        }
    }

    /// The phase is over: nothing more of it is fetched, nor kept.
    pub(crate) fn forget(&mut self) {
        self.fetching.abort_all();
        self.office.sweep.objects(std::mem::take(&mut self.held));
    }
}

/// What a partial is to the job now.
#[derive(Debug, PartialEq)]
enum Use<'a> {
    /// It may be taken into the phase of this plan.
    Read(&'a RoundPlan),
    /// Its phase is settled.
    Settled,
    /// The log has taken it, or knows nothing of its phase. What has been accepted is read by its digest
    /// alone: the roster that it was checked against may be another by now.
    None,
}

fn use_of<'a>(root: &'a RootRound, key: &RoundKey, region: &RegionId) -> Use<'a> {
    let next = root.plan().map(|plan| &plan.key).or(root.next_key());
    if next.is_some_and(|next| key < next) {
        return Use::Settled;
    }
    let phase = root.record().phases.last();
    let accepted = phase.is_some_and(|phase| phase.accepted.contains_key(region));
    match root.plan() {
        Some(plan) if plan.key == *key && !accepted => Use::Read(plan),
        _ => Use::None,
    }
}

fn event(read: Read) -> RootEvent {
    RootEvent::Partial {
        partial: Box::new(read.partial),
        digest: read.digest,
        bytes: read.bytes,
    }
}

/// An object that its fog has put there, or will have.
struct Awaited(ObjectError);

impl std::fmt::Display for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl MayPass for Awaited {
    fn may_pass(&self) -> bool {
        matches!(
            self.0,
            ObjectError::Unavailable { .. } | ObjectError::NotFound(_)
        )
    }
}

/// Gets the object that holds a partial, for as long as its phase is open.
async fn fetch(office: Arc<Office>, door: Door, object: ObjectRef) -> Fetched {
    let nats = &office.voice.nats;
    let get = || async { nats.get_object(&object).await.map_err(Awaited) };
    let (key, region) = (door.phase.clone(), door.region.clone());
    Ok(match until_answered(get).await {
        Ok(signed) => {
            let event = match door.open(&signed) {
                Ok(read) => Some(event(read)),
                Err(refusal) => refused(&office, key, region, refusal, &signed),
            };
            event.map(|event| (event, signed.into()))
        }
        Err(Awaited(error)) => {
            let refusal = Refusal::Final(Reason::BadDigest, error.into());
            let event = refused(&office, key, region, refusal, &[]);
            event.map(|event| (event, Bytes::new()))
        }
    })
}

async fn accepted(
    office: &Office,
    key: &RoundKey,
    region: &RegionId,
    object: ObjectRef,
) -> anyhow::Result<Read> {
    let nats = &office.voice.nats;
    let subject = Subject::Partial(key.clone(), region.clone(), ONLY_SHARD).to_string();
    let message = until_answered(|| nats.last(Stream::Partials, &subject)).await?;
    let message = message.context("the stream no longer holds it")?;
    let signed = match Digest::of(&message.payload) == object.digest {
        true => message.payload.to_vec(),
        false => office.object(&object).await?,
    };
    let roster: Arc<RosterFile> = office.roster.borrow().clone();
    partials::accepted(&roster, object.digest, &signed)
}

/// Says that a message is not taken and keeps it. What its fog signed is the region's answer.
fn refused(
    office: &Office,
    key: RoundKey,
    region: RegionId,
    refusal: Refusal,
    payload: &[u8],
) -> Option<RootEvent> {
    let (reason, why) = match refusal {
        Refusal::Foreign(why) => (None, why),
        Refusal::Final(reason, why) => (Some(reason), why),
    };
    tracing::warn!("a partial of {key} from region {region} is refused: {why:#}");
    Quarantine::of(&office.home).keep(payload, &format!("{why:#}"));
    let label = reason.unwrap_or(Reason::BadSignature).as_str();
    office.metrics.contribution("rejected", label);
    Some(RootEvent::Refused(key, region, reason?))
}

#[cfg(test)]
mod tests {
    use fl_model::{LogEntry, RegionSummary, RoundNumber};

    use super::*;
    use crate::settings::RoundSettings;
    use crate::testing::{plan, region, spec, submitted};

    #[test]
    fn only_what_the_open_phase_lacks_is_read_against_the_roster() {
        let regions = vec![region("north"), region("south")];
        let opened = LogEntry::Opened {
            plan: Box::new(plan()),
            regions,
            at_us: 1,
        };
        let accepted = LogEntry::PartialAccepted {
            key: plan().key,
            region: region("north"),
            digest: Digest::of(b"partial"),
            summary: RegionSummary::default(),
            at_us: 2,
        };
        let limits = RoundSettings::default().limits();
        let log = [submitted(spec()), opened, accepted];
        let replay = |entries: usize| RootRound::replay(limits, &log[..entries]).unwrap();
        let at = |round: u32| RoundKey {
            round: RoundNumber(round),
            ..plan().key
        };
        let check = |entries: usize, round: u32, of: &str, expected: Use| {
            assert_eq!(use_of(&replay(entries), &at(round), &region(of)), expected);
        };
        let plan = plan();
        check(1, 0, "north", Use::None);
        check(2, 0, "north", Use::Read(&plan));
        check(3, 0, "north", Use::None);
        check(3, 0, "south", Use::Read(&plan));
        check(3, 1, "south", Use::None);
        let closed = LogEntry::Closed {
            key: at(0),
            outcome: fl_model::RoundOutcome::NoQuorum,
            absent: Vec::new(),
            at_us: 3,
        };
        let mut over = replay(3);
        over.fold(&closed);
        for of in ["north", "south"] {
            assert_eq!(use_of(&over, &at(0), &region(of)), Use::Settled);
        }
    }
}
