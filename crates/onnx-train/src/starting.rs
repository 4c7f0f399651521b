//! The parameters that training starts from.

use onnx_grad::{ForwardModel, Parameter};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::source::Model;

/// A device-local parameter as it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalParameter {
    /// Name of the initialiser in the model file.
    pub name: String,
    /// Its value, row-major.
    pub value: Vec<f32>,
}

/// The parameters that a job starts from: those in the model, or drawn by the seed. Those of the layout
/// come first, then the device-local ones.
///
/// Drawn weights are uniform within ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16)
/// for tensors of two or more dimensions; the others stay as the model has them.
///
/// # Errors
/// The bytes are not a model that can be trained, or not as asked; or parameters are to be drawn of which
/// some are adapters.
pub fn starting_parameters<'a>(
    model: impl Into<Model<'a>>,
    draw: Option<u64>,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let model = model.into().parse()?;
    starting(&model, draw)
}

/// The parameters among them that each device keeps for itself.
///
/// # Errors
/// As for [`starting_parameters`].
pub fn local_parameters<'a>(
    model: impl Into<Model<'a>>,
    draw: Option<u64>,
) -> Result<Vec<LocalParameter>, TrainError> {
    let model = model.into().parse()?;
    let values = starting(&model, draw)?;
    let all = model.parameters().iter().zip(values);
    let local = all.skip(model.shared().len());
    let local = local.map(|(own, value)| LocalParameter {
        name: own.name.clone(),
        value,
    });
    Ok(local.collect())
}

fn starting(model: &ForwardModel, draw: Option<u64>) -> Result<Vec<Vec<f32>>, TrainError> {
    if draw.is_some() && model.has_adapters() {
        let what =
            "the model has adapters, which begin so that it is unchanged: leave randomize away";
        return Err(TrainError::Parameters(what.to_owned()));
    }
    let mut random = draw.map(ChaCha8Rng::seed_from_u64);
    let value = |own: &Parameter| match (&mut random, &own.shape[..]) {
        (Some(random), [rows, columns, rest @ ..]) => {
            let field: u64 = rest.iter().product();
            let limit = (6.0 / ((rows + columns) * field) as f64).sqrt() as f32;
            let drawn = own.initial.iter();
            drawn
                .map(|_| limit * signed_unit(random.next_u32()))
                .collect()
        }
        _ => own.initial.clone(),
    };
    Ok(model.parameters().iter().map(value).collect())
}

/// Uniform in [-1, 1), written out so that what a seed draws never depends on a library's version.
fn signed_unit(bits: u32) -> f32 {
    (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
}
