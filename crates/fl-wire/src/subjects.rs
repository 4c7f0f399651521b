//! NATS subjects, streams and buckets: `fl.…`.

use std::fmt;
use std::str::FromStr;

use fl_model::{JobId, Phase, RegionId, RoundKey, RoundNumber};

/// Stream of the jobs' logs: every transition of every round.
pub const LOG_STREAM: &str = "FL_LOG";
/// Subjects of [`LOG_STREAM`].
pub const LOG_SUBJECTS: &str = "fl.log.*";
/// Stream from the root to the fogs: one message per subject is kept.
pub const DOWN_STREAM: &str = "FL_DOWN";
/// Subjects of [`DOWN_STREAM`].
pub const DOWN_SUBJECTS: &str = "fl.down.>";
/// Stream of the regions' partial sums.
pub const PARTIALS_STREAM: &str = "FL_PARTIALS";
/// Subjects of [`PARTIALS_STREAM`].
pub const PARTIALS_SUBJECTS: &str = "fl.partial.>";
/// Subjects of the fogs' heartbeats; core NATS, in no stream.
pub const BEATS: &str = "fl.beat.*";
/// Bucket of the object store; objects are named by their SHA-256 in hexadecimal digits.
pub const OBJECTS_BUCKET: &str = "fl-objects";

/// The shard of a region that has one fog.
pub const ONLY_SHARD: u32 = 0;

/// Longest subject that is looked at.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// A text that is not a subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subject {0:?} is not of this protocol")]
pub struct UnknownSubject(String);

/// A subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// [`fl_model::LogEntry`] of a job.
    Log(JobId),
    /// A job's current [`fl_model::RoundPlan`] for a region; an empty message ends it.
    Plan(RegionId, JobId),
    /// [`crate::RoundSettled`] for a region.
    Settled(RegionId, RoundKey),
    /// The region's [`crate::EnvelopeList`] of roster entries.
    Roster(RegionId),
    /// [`fl_model::PartialSum`] of a region's shard, or the reference to it.
    Partial(RoundKey, RegionId, u32),
    /// [`crate::FogBeat`].
    Beat(RegionId),
}

impl Subject {
    fn read(text: &str) -> Option<Self> {
        let tokens: Vec<&str> = text.splitn(TOKENS_MAX, '.').collect();
        let region = |name: &str| RegionId::new(name).ok();
        let job = |name: &str| JobId::new(name).ok();
        Some(match tokens[..] {
            ["fl", "log", name] => Subject::Log(job(name)?),
            ["fl", "down", of, "plan", name] => Subject::Plan(region(of)?, job(name)?),
            ["fl", "down", of, "settled", name, round, phase] => {
                Subject::Settled(region(of)?, read_key(name, round, phase)?)
            }
            ["fl", "down", of, "roster"] => Subject::Roster(region(of)?),
            ["fl", "partial", name, round, phase, of, shard] => Subject::Partial(
                read_key(name, round, phase)?,
                region(of)?,
                shard.parse().ok()?,
            ),
            ["fl", "beat", of] => Subject::Beat(region(of)?),
            _ => return None,
        })
    }
}

/// Tokens of the longest subject: `fl.partial.{job}.{round}.{phase}.{region}.{shard}`.
const TOKENS_MAX: usize = 7;

fn read_key(job: &str, round: &str, phase: &str) -> Option<RoundKey> {
    Some(RoundKey {
        job: JobId::new(job).ok()?,
        round: RoundNumber(round.parse().ok()?),
        phase: Phase::ALL.into_iter().find(|one| one.as_str() == phase)?,
    })
}

impl FromStr for Subject {
    type Err = UnknownSubject;

    /// Reads a subject in exactly the form in which it is written.
    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        let short = text.len() <= SUBJECT_BYTES_MAX;
        let subject = short.then(|| Self::read(text)).flatten();
        subject
            .filter(|subject| subject.to_string() == text)
            .ok_or_else(|| UnknownSubject(text.chars().take(SUBJECT_BYTES_MAX).collect()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Log(job) => write!(f, "fl.log.{job}"),
            Subject::Plan(region, job) => write!(f, "fl.down.{region}.plan.{job}"),
            Subject::Settled(region, key) => {
                let RoundKey { job, round, phase } = key;
                write!(f, "fl.down.{region}.settled.{job}.{round}.{phase}")
            }
            Subject::Roster(region) => write!(f, "fl.down.{region}.roster"),
            Subject::Partial(key, region, shard) => {
                let RoundKey { job, round, phase } = key;
                write!(f, "fl.partial.{job}.{round}.{phase}.{region}.{shard}")
            }
            Subject::Beat(region) => write!(f, "fl.beat.{region}"),
        }
    }
}

/// Everything for a region.
pub fn down_filter(region: &RegionId) -> String {
    format!("fl.down.{region}.>")
}

/// A region's records of a job's phases.
pub fn settled_filter(region: &RegionId, job: &JobId) -> String {
    format!("fl.down.{region}.settled.{job}.>")
}

/// Every partial sum of a phase.
pub fn partials_filter(key: &RoundKey) -> String {
    let RoundKey { job, round, phase } = key;
    format!("fl.partial.{job}.{round}.{phase}.>")
}

/// Every partial sum of a job.
pub fn job_partials_filter(job: &JobId) -> String {
    format!("fl.partial.{job}.>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subjects_are_as_documented_and_read_back() {
        let check = |text: &str, expected: Subject| {
            assert_eq!(text.parse(), Ok(expected.clone()));
            assert_eq!(expected.to_string(), text);
        };
        let job = || JobId::new("air").unwrap();
        let region = || RegionId::new("north").unwrap();
        let key = || RoundKey {
            job: job(),
            round: RoundNumber(17),
            phase: Phase::Train,
        };
        check("fl.log.air", Subject::Log(job()));
        check("fl.down.north.plan.air", Subject::Plan(region(), job()));
        check(
            "fl.down.north.settled.air.17.train",
            Subject::Settled(region(), key()),
        );
        check("fl.down.north.roster", Subject::Roster(region()));
        check(
            "fl.partial.air.17.train.north.0",
            Subject::Partial(key(), region(), ONLY_SHARD),
        );
        check("fl.beat.north", Subject::Beat(region()));
    }

    #[test]
    fn what_is_not_a_subject_is_refused() {
        for bad in [
            "",
            "fl",
            "fl.log",
            "fl.log.",
            "fl.log.a.b",
            "fl.log.*",
            "fl.down.north.>",
            "fl.partial.air.017.train.north.0",
            "fl.partial.air.+1.train.north.0",
            "fl.partial.air.1.training.north.0",
            "fl.partial.air.4294967296.train.north.0",
            "fl.partial.air.1.train.north.0.0",
            "FL.log.air",
            &"fl.".repeat(1000),
        ] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", tokens in "(fl.(log|down|partial).|)[a-d.*0]{0,20}") {
            let _ = text.parse::<Subject>();
            let _ = tokens.parse::<Subject>();
        }
    }
}
