//! The parameters that training starts from.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::model::{initial_parameters, parameter_layout};

/// The parameters that a job starts from: those in the model, or drawn by the seed.
///
/// Drawn weights are uniform within ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16)
/// for tensors of two or more dimensions; the others stay as the model has them.
///
/// # Errors
/// The bytes are not a model that can be trained.
pub fn starting_parameters(
    model: &[u8],
    randomize: bool,
    seed: u64,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut parameters = initial_parameters(model)?;
    if !randomize {
        return Ok(parameters);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for (info, values) in parameter_layout(model)?.iter().zip(&mut parameters) {
        let [rows, columns, rest @ ..] = &info.shape[..] else {
            continue;
        };
        let field: u64 = rest.iter().product();
        let limit = (6.0 / ((rows + columns) * field) as f64).sqrt() as f32;
        values.fill_with(|| limit * signed_unit(random.next_u32()));
    }
    Ok(parameters)
}

/// Uniform in [-1, 1), written out so that what a seed draws never depends on a library's version.
fn signed_unit(bits: u32) -> f32 {
    (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
}
