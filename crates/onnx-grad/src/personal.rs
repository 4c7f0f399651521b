//! A finished model with parameters of one device.

use prost::Message as _;

use crate::error::ModelError;
use crate::limits::Limits;
use crate::proto::ModelProto;
use crate::tensor::{Data, Tensor, encode_f32};

/// A model as [`InferenceModel`](crate::InferenceModel) has written it, with other values of some parameters,
/// given by their names, row-major: of the parameters that a job leaves to its devices, an export has those of the
/// model file.
///
/// # Errors
/// The bytes are not an ONNX model, or have no such float32 parameters: adapters, say, which an export has added
/// to the weights.
pub fn personal(
    exported: &[u8],
    limits: &Limits,
    own: &[(&str, &[f32])],
) -> Result<Vec<u8>, ModelError> {
    let bytes = exported.len();
    if bytes > limits.model_bytes_max {
        let bytes_max = limits.model_bytes_max;
        return Err(ModelError::TooLarge { bytes, bytes_max });
    }
    let mut proto = ModelProto::decode(exported)?;
    let mut graph = proto.graph.take().unwrap_or_default();
    for (name, values) in own {
        let unfit = |reason: String| ModelError::Parameter {
            name: (*name).to_owned(),
            reason,
        };
        let tensors = &mut graph.initializer;
        let place = tensors.iter_mut().find(|tensor| tensor.name() == *name);
        let place = place.ok_or_else(|| {
            unfit(
                "the exported model has none of that name: is it of the same job? Adapters are part of its weights \
                 and cannot be told apart any more"
                    .to_owned(),
            )
        })?;
        let tensor = Tensor::decode(place, limits)?;
        let count = tensor.count();
        if !matches!(tensor.data, Data::F32(_)) || count != values.len() as u64 {
            return Err(unfit(format!(
                "the exported model has {count} elements of it, {} of float32 are given: is it of the same job?",
                values.len()
            )));
        }
        *place = encode_f32(name, &tensor.dims, values);
    }
    proto.graph = Some(graph);
    Ok(proto.encode_to_vec())
}
