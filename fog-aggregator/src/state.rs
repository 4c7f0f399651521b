//! What a fog remembers across restarts beside its snapshot: its epoch, and how phases ended.

use std::collections::BTreeMap;

use fl_model::{DeviceId, Epoch, JobId, Outcome, Phase, Reason, RoundKey, RoundNumber};
use fl_round::SettledRecord;
use serde::{Deserialize, Serialize};

/// Settled phases whose outcome is remembered per device.
pub const SETTLED_MAX: usize = 64;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// The phases settled last, oldest first; at most [`SETTLED_MAX`].
    pub settled: Vec<SettledRecord>,
}

impl State {
    /// Adds a record, and forgets the oldest beyond the bound.
    pub fn settle(&mut self, record: SettledRecord) {
        self.settled.push(record);
        let beyond = self.settled.len().saturating_sub(SETTLED_MAX);
        self.settled.drain(..beyond);
    }

    /// The state as it stands on disk.
    pub fn to_json(&self) -> Vec<u8> {
        let mirror = StateMirror {
            epoch: self.epoch.0,
            settled: self.settled.iter().map(RecordMirror::of).collect(),
        };
        // Maps with text keys and numbers always have a JSON form.
        serde_json::to_vec(&mirror).unwrap_or_default()
    }

    /// Reads what [`State::to_json`] wrote; says what is wrong otherwise.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let mirror: StateMirror =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let settled = mirror
            .settled
            .iter()
            .map(RecordMirror::record)
            .collect::<Option<Vec<_>>>();
        Ok(Self {
            epoch: Epoch(mirror.epoch),
            settled: settled.ok_or("a settled record has a name or number that is none")?,
        })
    }
}

/// A phase as a file's name: `{job}.{round}.{phase}`.
pub fn file_key(key: &RoundKey) -> String {
    format!("{}.{}.{}", key.job, key.round, key.phase)
}

/// Reads what [`file_key`] wrote.
pub fn parse_file_key(text: &str) -> Option<RoundKey> {
    let mut parts = text.splitn(3, '.');
    let (job, round, phase) = (parts.next()?, parts.next()?, parts.next()?);
    round_key(job, round.parse().ok()?, phase)
}

fn round_key(job: &str, round: u32, phase: &str) -> Option<RoundKey> {
    Some(RoundKey {
        job: JobId::new(job).ok()?,
        round: RoundNumber(round),
        phase: Phase::ALL.into_iter().find(|one| one.as_str() == phase)?,
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateMirror {
    epoch: u64,
    settled: Vec<RecordMirror>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordMirror {
    job: String,
    round: u32,
    phase: String,
    /// Per device, none where it was counted, else the number of the reason.
    outcomes: BTreeMap<String, Option<u8>>,
}

impl RecordMirror {
    fn of(record: &SettledRecord) -> Self {
        let code = |outcome: &Outcome| match outcome {
            Outcome::Counted => None,
            Outcome::Excluded(reason) => Some(reason.code()),
        };
        let outcomes = record.outcomes.iter();
        Self {
            job: record.key.job.to_string(),
            round: record.key.round.0,
            phase: record.key.phase.to_string(),
            outcomes: outcomes
                .map(|(device, outcome)| (device.to_string(), code(outcome)))
                .collect(),
        }
    }

    fn record(&self) -> Option<SettledRecord> {
        let outcome = |code: &Option<u8>| match code {
            None => Some(Outcome::Counted),
            Some(code) => Reason::from_code(*code).map(Outcome::Excluded),
        };
        let outcomes = self.outcomes.iter();
        let outcomes =
            outcomes.map(|(device, code)| Some((DeviceId::new(device).ok()?, outcome(code)?)));
        Some(SettledRecord {
            key: round_key(&self.job, self.round, &self.phase)?,
            outcomes: outcomes.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(round: u32) -> RoundKey {
        round_key("air", round, "train").unwrap()
    }

    #[test]
    fn the_state_reads_back_and_is_bounded() {
        let mut state = State {
            epoch: Epoch(3),
            ..State::default()
        };
        let outcomes = [
            (DeviceId::new("a").unwrap(), Outcome::Counted),
            (
                DeviceId::new("b").unwrap(),
                Outcome::Excluded(Reason::NoQuorum),
            ),
        ];
        for round in 0..SETTLED_MAX as u32 + 2 {
            state.settle(SettledRecord {
                key: key(round),
                outcomes: BTreeMap::from(outcomes.clone()),
            });
        }
        assert_eq!(state.settled.len(), SETTLED_MAX);
        assert_eq!(state.settled[0].key, key(2));
        assert_eq!(State::from_json(&state.to_json()), Ok(state));
        for bad in [
            &b""[..],
            b"{}",
            br#"{"epoch":1,"settled":[{"job":"a","round":1,"phase":"trian","outcomes":{}}]}"#,
            br#"{"epoch":1,"settled":[{"job":"a","round":1,"phase":"train","outcomes":{"a":200}}]}"#,
        ] {
            assert!(State::from_json(bad).is_err());
        }
    }

    #[test]
    fn a_phase_reads_back_from_its_file() {
        assert_eq!(file_key(&key(7)), "air.7.train");
        assert_eq!(parse_file_key("air.7.train"), Some(key(7)));
        for bad in [
            "",
            "air",
            "air.7",
            "air.x.train",
            "air.7.trian",
            "air.7.train.x",
        ] {
            assert_eq!(parse_file_key(bad), None, "{bad}");
        }
    }
}
