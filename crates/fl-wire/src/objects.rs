//! Objects: unsigned, named by the SHA-256 of their bytes.

use fl_model::{DeviceId, Digest, NAME_BYTES_MAX, PartialSum, RoundPlan, TrainWork, Work};

use crate::cbor::arrays::Bytes;
use crate::cbor::{Wire, list_of_mirrors, mirror_struct};
use crate::error::WireError;
use crate::limits::ENVELOPES_MAX;

/// Global parameters. Their encoding is canonical, so its SHA-256 is the model's identity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParameterObject {
    /// Names of the tensors in the ONNX model.
    pub names: Vec<String>,
    /// Their shapes.
    pub shapes: Vec<Vec<u64>>,
    /// Their values, row-major.
    pub tensors: Vec<Vec<f32>>,
}

/// The moments of the root's server optimiser, as long as the parameters; none where it has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MomentsObject {
    /// First moment or velocity, per tensor.
    pub first: Vec<Vec<f32>>,
    /// Second moment, per tensor.
    pub second: Vec<Vec<f32>>,
}

/// A fog's durable state of an open phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotObject {
    /// The sum so far.
    pub partial: PartialSum,
    /// The contributions in it: device and SHA-256 of the signed bytes.
    pub admitted: Vec<(DeviceId, Digest)>,
}

/// Signed messages one after the other, for example a region's roster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvelopeList {
    /// The signed bytes of each, at most [`ENVELOPES_MAX`].
    pub envelopes: Vec<Vec<u8>>,
}

mirror_struct! {
    ParameterObject, "parameters", ParameterObjectMirror {
        names: Vec<String>,
        shapes: Vec<Vec<u64>>,
        tensors: Vec<Vec<f32>>,
    } check check_parameters
}

fn check_parameters(parameters: &ParameterObject) -> Result<(), WireError> {
    let ParameterObject {
        names,
        shapes,
        tensors,
    } = parameters;
    let counts = [names.len(), shapes.len(), tensors.len()];
    if counts[0] != counts[1] || counts[1] != counts[2] {
        let [names, shapes, tensors] = counts;
        let problem = format!("{names} names and {shapes} shapes for {tensors} tensors");
        return Err(WireError::value("parameters", problem));
    }
    for ((name, shape), tensor) in names.iter().zip(shapes).zip(tensors) {
        let product = shape
            .iter()
            .try_fold(1u64, |all, &side| all.checked_mul(side));
        if product != Some(tensor.len() as u64) {
            let problem = format!("{name} of shape {shape:?} has {} coordinates", tensor.len());
            return Err(WireError::value("parameters", problem));
        }
    }
    Ok(())
}

mirror_struct! {
    MomentsObject, "moments", MomentsObjectMirror {
        first: Vec<Vec<f32>>,
        second: Vec<Vec<f32>>,
    }
}

mirror_struct! {
    SnapshotObject, "snapshot", SnapshotObjectMirror {
        partial: PartialSum,
        admitted: Vec<(DeviceId, Digest)>,
    } check check_snapshot
}

fn check_snapshot(snapshot: &SnapshotObject) -> Result<(), WireError> {
    let admitted = snapshot.admitted.iter().map(|(device, _)| device);
    if admitted.eq(&snapshot.partial.contributors) {
        return Ok(());
    }
    Err(WireError::value(
        "snapshot",
        "its contributions are not those of its sum",
    ))
}

impl Wire for EnvelopeList {
    const NAME: &'static str = "list of signed messages";
    type Mirror = Vec<Bytes>;

    fn mirror(&self) -> Vec<Bytes> {
        self.envelopes.iter().cloned().map(Bytes).collect()
    }

    fn from_mirror(mirror: Vec<Bytes>) -> Result<Self, WireError> {
        if mirror.len() > ENVELOPES_MAX {
            let problem = format!("{} exceed {ENVELOPES_MAX}", mirror.len());
            return Err(WireError::value("number of signed messages", problem));
        }
        let envelopes = mirror.into_iter().map(|bytes| bytes.0).collect();
        Ok(Self { envelopes })
    }

    list_of_mirrors!();
}

/// Room for the header, the signature and every field of fixed size.
const FRAME_BYTES_MAX: u64 = 1_024;

/// Room for the heads of a tensor's arrays and for its figures.
const TENSOR_FRAME_BYTES_MAX: u64 = 48;

/// A column's statistics: two counts of 64 bits and two sums of 128.
const COLUMN_BYTES: u64 = 48;

/// A device's name, with its reason or digest.
const MEMBER_BYTES_MAX: u64 = NAME_BYTES_MAX as u64 + 48;

/// The most bytes of a signed contribution that answers the plan.
pub fn contribution_bytes_max(plan: &RoundPlan) -> usize {
    let payload = match &plan.work {
        Work::Train(work) => {
            let coordinates = coordinates_bytes(plan, u64::from(work.grid.width.bits() / 8));
            coordinates.saturating_add(tensor_frames(work))
        }
        _ => counters_bytes(plan),
    };
    to_usize(payload.saturating_add(FRAME_BYTES_MAX))
}

/// The most bytes of a signed partial sum of the plan over that many devices.
pub fn partial_bytes_max(plan: &RoundPlan, devices: usize) -> usize {
    const SUM_BYTES: u64 = 8;
    let sum = match &plan.work {
        Work::Train(work) => coordinates_bytes(plan, SUM_BYTES).saturating_add(tensor_frames(work)),
        _ => counters_bytes(plan),
    };
    let members = (devices as u64).saturating_mul(MEMBER_BYTES_MAX);
    to_usize(sum.saturating_add(members).saturating_add(FRAME_BYTES_MAX))
}

/// The parameters' object holds at least four bytes for every coordinate.
fn coordinates_bytes(plan: &RoundPlan, bytes_each: u64) -> u64 {
    const PARAMETER_BYTES: u64 = 4;
    (plan.parameters.bytes / PARAMETER_BYTES).saturating_mul(bytes_each)
}

fn tensor_frames(work: &TrainWork) -> u64 {
    (work.grid.exponents.len() as u64).saturating_mul(TENSOR_FRAME_BYTES_MAX)
}

fn counters_bytes(plan: &RoundPlan) -> u64 {
    const CELL_BYTES: u64 = 8;
    let columns = plan.data.inputs.encoded_width() as u64;
    let classes = plan.data.label.classes().unwrap_or(0) as u64;
    let cells = classes.saturating_mul(classes);
    match plan.work {
        Work::Statistics => columns.saturating_mul(COLUMN_BYTES),
        _ => cells.saturating_mul(CELL_BYTES),
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
