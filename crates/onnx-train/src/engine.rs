//! What runs graphs: the ONNX Runtime that was loaded, or tract where that was chosen.

pub(crate) mod onnx_runtime;
#[cfg(feature = "tract")]
mod tract;

use crate::error::TrainError;
use crate::runtime::{Runtime, runtime};

/// A graph that has been loaded.
pub(crate) trait Session: Send {
    /// Runs the graph once. All outputs that are asked for are float32.
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &[&str],
    ) -> Result<Vec<Vec<f32>>, TrainError>;

    /// Tensors for runs that follow each other.
    fn memory(&mut self) -> Box<dyn Memory + '_>;

    /// Ends the profile and gives its file, where one was asked for.
    #[cfg(feature = "test")]
    fn end_profiling(&mut self) -> Option<String> {
        None
    }
}

/// A tensor that is given for one run: its shape, and its elements in row-major order.
pub(crate) enum View<'a> {
    Numbers(Vec<usize>, &'a [f32]),
    Indices(Vec<usize>, &'a [i64]),
}

/// Tensors that stay from run to run, and which of them a run reads and writes.
pub(crate) trait Memory {
    /// A tensor of numbers, whose values are not yet settled.
    fn numbers(&mut self, shape: &[usize]) -> Result<Numbers, TrainError>;

    /// A tensor of indices, likewise.
    fn indices(&mut self, shape: &[usize]) -> Result<Indices, TrainError>;

    /// The elements of numbers.
    fn read(&self, at: Numbers) -> &[f32];

    /// The same, to be written.
    fn write(&mut self, at: Numbers) -> &mut [f32];

    /// The elements of indices, to be written.
    fn write_indices(&mut self, at: Indices) -> &mut [i64];

    /// Prepares runs that read some tensors and write others. A run may not read what it writes.
    fn bind(
        &mut self,
        inputs: &[(&str, Place)],
        outputs: &[(&str, Numbers)],
    ) -> Result<Binding, TrainError>;

    /// Runs the graph once.
    fn run(&mut self, binding: Binding) -> Result<(), TrainError>;
}

/// A tensor of float32 in a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers(usize);

/// A tensor of int64 in a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indices(usize);

/// A tensor in a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Numbers(Numbers),
    Indices(Indices),
}

/// Runs that have been prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding(usize);

/// Loads a graph into the runtime of the process.
///
/// # Errors
/// There is none, or it refuses the graph.
pub(crate) fn load(graph: &[u8]) -> Result<Box<dyn Session>, TrainError> {
    Ok(match runtime()? {
        Runtime::OnnxRuntime(_) => Box::new(onnx_runtime::load(graph)?),
        #[cfg(feature = "tract")]
        Runtime::Tract => Box::new(tract::load(graph)?),
    })
}

/// A tensor of numbers that holds these.
pub(crate) fn filled(
    memory: &mut dyn Memory,
    shape: &[usize],
    numbers: &[f32],
) -> Result<Numbers, TrainError> {
    let at = memory.numbers(shape)?;
    memory.write(at).copy_from_slice(numbers);
    Ok(at)
}
