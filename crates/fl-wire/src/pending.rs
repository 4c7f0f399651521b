//! What a device keeps on disk between making a contribution and hearing what became of it.

use fl_model::{Digest, Grid, JobId, RoundKey};

use crate::cbor::mirror_struct;
use crate::error::WireError;
use crate::mirror::same_length;

/// A contribution that is not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingObject {
    /// The phase that it answers.
    pub key: RoundKey,
    /// The signed bytes, which are sent and sent again as they are.
    pub sealed: Vec<u8>,
    /// In a train phase: the update in them, before it was rounded to the grid.
    pub update: Option<PendingUpdate>,
}

/// An update from which the device's next residual follows, whatever becomes of the contribution.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingUpdate {
    /// SHA-256 of the ONNX model.
    pub model: Digest,
    /// Number of the residual that is part of it.
    pub takes: u64,
    /// The grid that it was rounded to.
    pub grid: Grid,
    /// Its coordinates per tensor, clipped, with the residual in them.
    pub coordinates: Vec<Vec<f32>>,
    /// The device-local parameters that the same training gave.
    pub local: LocalParameters,
}

/// Parameters that a device keeps for itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalParameters {
    /// Names of the tensors in the ONNX model.
    pub names: Vec<String>,
    /// Their values, row-major.
    pub tensors: Vec<Vec<f32>>,
}

/// The device-local parameters of a job, as its last settled round left them.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalObject {
    /// The training that gave them.
    pub key: RoundKey,
    /// SHA-256 of its ONNX model.
    pub model: Digest,
    /// The parameters.
    pub parameters: LocalParameters,
}

/// What earlier updates of a device did not bring to the federation.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidualObject {
    /// The job.
    pub job: JobId,
    /// SHA-256 of its ONNX model.
    pub model: Digest,
    /// Counts how often the residual changed.
    pub number: u64,
    /// The contribution whose outcome made it what it is.
    pub absorbed: Option<RoundKey>,
    /// Coordinates per tensor.
    pub coordinates: Vec<Vec<f32>>,
}

mirror_struct! {
    PendingUpdate, "pending update", PendingUpdateMirror {
        model: Digest,
        takes: u64,
        grid: Grid,
        coordinates: Vec<Vec<f32>>,
        local: LocalParameters,
    }
}

mirror_struct! {
    LocalParameters, "local parameters", LocalParametersMirror {
        names: Vec<String>,
        tensors: Vec<Vec<f32>>,
    } check check_local
}

fn check_local(local: &LocalParameters) -> Result<(), WireError> {
    same_length(
        "tensors of the local parameters",
        local.names.len(),
        local.tensors.len(),
    )
}

mirror_struct! {
    LocalObject, "local parameters of a job", LocalObjectMirror {
        key: RoundKey,
        model: Digest,
        parameters: LocalParameters,
    }
}

mirror_struct! {
    PendingObject, "pending contribution", PendingObjectMirror {
        key: RoundKey,
        sealed: Vec<u8>,
        update: Option<PendingUpdate>,
    }
}

mirror_struct! {
    ResidualObject, "residual", ResidualObjectMirror {
        job: JobId,
        model: Digest,
        number: u64,
        absorbed: Option<RoundKey>,
        coordinates: Vec<Vec<f32>>,
    }
}

#[cfg(test)]
mod tests {
    use fl_model::{GridWidth, Phase, RoundNumber};

    use super::*;
    use crate::Encoded as _;

    #[test]
    fn what_was_kept_reads_back() {
        let job = JobId::new("air").unwrap();
        let key = RoundKey {
            job: job.clone(),
            round: RoundNumber(3),
            phase: Phase::Train,
        };
        let update = PendingUpdate {
            model: Digest::of(b"model"),
            takes: 7,
            grid: Grid::for_clip_norm(GridWidth::W16, 1.0, 2),
            coordinates: vec![vec![0.5, -0.25], vec![]],
            local: LocalParameters {
                names: vec!["head.weight".to_owned()],
                tensors: vec![vec![1.5]],
            },
        };
        let local = LocalObject {
            key: key.clone(),
            model: update.model,
            parameters: update.local.clone(),
        };
        let read = LocalObject::decode(&local.encode().unwrap());
        assert_eq!(read, Ok(local));
        let mut pending = PendingObject {
            key: key.clone(),
            sealed: vec![0xd2, 0, 255],
            update: Some(update),
        };
        let read = PendingObject::decode(&pending.encode().unwrap());
        assert_eq!(read, Ok(pending.clone()));
        pending.update = None;
        let read = PendingObject::decode(&pending.encode().unwrap());
        assert_eq!(read, Ok(pending));
        let residual = ResidualObject {
            job,
            model: Digest::of(b"model"),
            number: 8,
            absorbed: Some(key),
            coordinates: vec![vec![f32::MIN_POSITIVE]],
        };
        let read = ResidualObject::decode(&residual.encode().unwrap());
        assert_eq!(read, Ok(residual));
    }
}
