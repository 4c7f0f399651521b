//! How the types of the domain are written. Fields and variants are only ever appended.

mod contribution;
mod ids;
mod log;
mod messages;
mod plan;
mod sum;

use crate::error::WireError;

/// Refuses a list of another length than its neighbour's.
pub(crate) fn same_length(
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), WireError> {
    if expected == got {
        return Ok(());
    }
    let problem = format!("{got} entries where there are {expected} columns or tensors");
    Err(WireError::value(what, problem))
}
