//! The durable state of an open phase: the sum so far, who is in it, and what the trace needs.

use std::collections::BTreeMap;

use fl_model::Digest;
use fl_round::Restored;
use fl_telemetry::RegionTrace;
use fl_wire::{Encoded as _, SnapshotObject, WireError};
use serde::{Deserialize, Serialize};

/// Bytes of the digest in front.
const DIGEST_BYTES: usize = 32;
/// Bytes of the length of the first part.
const LENGTH_BYTES: usize = 8;

/// What is known of the round for its trace; kept so that a restarted fog tells the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// When this was written, on the wall clock [µs since 1970].
    pub saved_us: u64,
    /// The round's facts so far; none in an evaluation, which has no spans here.
    pub trace: Option<RegionTrace>,
    /// Contributions whose receipt is not out: when they came [µs since 1970], and their bytes.
    pub arrived: BTreeMap<String, (u64, u64)>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They are not the bytes that were written.
    #[error("its contents do not match their digest")]
    Damaged,
    /// The sum cannot be read, or not be written.
    #[error(transparent)]
    Sum(#[from] WireError),
    /// The notes cannot be read, or not be written.
    #[error("its notes cannot be read: {0}")]
    Notes(#[from] serde_json::Error),
    /// A trace that is told cannot be written.
    #[error("its trace cannot be kept: {0}")]
    Trace(serde_cbor::Error),
}

/// Writes a snapshot as one file: digest, length, sum as on the wire, notes as JSON.
///
/// # Errors
/// [`SnapshotError`], which is a fault of ours.
pub fn encode(restored: &Restored, notes: &Notes) -> Result<Vec<u8>, SnapshotError> {
    let object = SnapshotObject {
        partial: restored.partial.clone(),
        admitted: restored
            .admitted
            .iter()
            .map(|(device, digest)| (device.clone(), *digest))
            .collect(),
    };
    let sum = object.encode()?;
    let mut content = (sum.len() as u64).to_be_bytes().to_vec();
    content.extend_from_slice(&sum);
    serde_json::to_writer(&mut content, notes)?;
    let mut file = Digest::of(&content).0.to_vec();
    file.append(&mut content);
    Ok(file)
}

/// Reads what [`encode`] wrote; `closed` is left for the caller, who knows the outbox.
///
/// # Errors
/// [`SnapshotError`].
pub fn decode(file: &[u8]) -> Result<(Restored, Notes), SnapshotError> {
    let (digest, content) = file
        .split_first_chunk::<DIGEST_BYTES>()
        .ok_or(SnapshotError::Damaged)?;
    if Digest::of(content).0 != *digest {
        return Err(SnapshotError::Damaged);
    }
    let (length, content) = content
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or(SnapshotError::Damaged)?;
    let length =
        usize::try_from(u64::from_be_bytes(*length)).map_err(|_| SnapshotError::Damaged)?;
    let (sum, notes) = content
        .split_at_checked(length)
        .ok_or(SnapshotError::Damaged)?;
    let object = SnapshotObject::decode(sum)?;
    let restored = Restored {
        partial: object.partial,
        admitted: object.admitted.into_iter().collect(),
        closed: None,
    };
    Ok((restored, serde_json::from_slice(notes)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fl_model::{
        DeviceId, Epoch, EvaluationCounters, JobId, PartialSum, Phase, RegionId, RoundKey,
        RoundNumber, Sum,
    };

    /// A sum with one device in it.
    pub(crate) fn restored() -> (RoundKey, Restored) {
        let device = DeviceId::new("a").unwrap();
        let key = RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(1),
            phase: Phase::Evaluate,
        };
        let restored = Restored {
            partial: PartialSum {
                key: key.clone(),
                region: RegionId::new("north").unwrap(),
                epoch: Epoch(2),
                sum: Sum::Evaluation(EvaluationCounters::default()),
                contributors: vec![device.clone()],
                absent: Vec::new(),
                edge_up_bytes: 7,
                down_bytes: 9,
            },
            admitted: BTreeMap::from([(device, Digest::of(b"x"))]),
            closed: None,
        };
        (key, restored)
    }

    #[test]
    fn a_snapshot_reads_back_and_damage_is_found_out() {
        let (_, restored) = restored();
        let notes = Notes {
            saved_us: 5,
            trace: None,
            arrived: BTreeMap::from([("a".to_owned(), (3, 4))]),
        };
        let file = encode(&restored, &notes).unwrap();
        assert_eq!(decode(&file).unwrap(), (restored, notes));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&file[..at]).is_err(), "cut at {at}");
        }
    }
}
