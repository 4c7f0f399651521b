//! ONNX Runtime: tensors that it owns, which a step reads and writes where they are.

use std::borrow::Cow;

use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, Tensor, TensorRef};

use super::{Binding, Indices, Memory, Numbers, Place, View};
use crate::error::TrainError;
use crate::runtime::session;

/// A session of ONNX Runtime.
pub(crate) struct Loaded(pub(crate) Session);

/// Loads a graph.
pub(super) fn load(graph: &[u8]) -> Result<Loaded, TrainError> {
    Ok(Loaded(session(graph)?))
}

impl super::Session for Loaded {
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &[&str],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let given = inputs.iter().map(|(name, view)| {
            let value: SessionInputValue<'_> = match view {
                View::Numbers(shape, data) => {
                    TensorRef::from_array_view((shape.clone(), *data))?.into()
                }
                View::Indices(shape, data) => {
                    TensorRef::from_array_view((shape.clone(), *data))?.into()
                }
            };
            Ok((Cow::from(*name), value))
        });
        let given: Vec<_> = given.collect::<Result<_, TrainError>>()?;
        let made = self.0.run(given)?;
        let numbers = |name: &&str| Ok(made[*name].try_extract_tensor::<f32>()?.1.to_vec());
        outputs.iter().map(numbers).collect()
    }

    fn memory(&mut self) -> Box<dyn Memory + '_> {
        Box::new(Tensors {
            session: &mut self.0,
            numbers: Vec::new(),
            indices: Vec::new(),
            bindings: Vec::new(),
        })
    }

    #[cfg(feature = "test")]
    fn end_profiling(&mut self) -> Option<String> {
        self.0.end_profiling().ok()
    }
}

/// Tensors of a session.
struct Tensors<'a> {
    session: &'a mut Session,
    numbers: Vec<Tensor<f32>>,
    indices: Vec<Tensor<i64>>,
    bindings: Vec<IoBinding>,
}

impl Memory for Tensors<'_> {
    fn numbers(&mut self, shape: &[usize]) -> Result<Numbers, TrainError> {
        self.numbers.push(tensor(self.session, shape)?);
        Ok(Numbers(self.numbers.len() - 1))
    }

    fn indices(&mut self, shape: &[usize]) -> Result<Indices, TrainError> {
        self.indices.push(tensor(self.session, shape)?);
        Ok(Indices(self.indices.len() - 1))
    }

    fn read(&self, at: Numbers) -> &[f32] {
        self.numbers[at.0].extract_tensor().1
    }

    fn write(&mut self, at: Numbers) -> &mut [f32] {
        self.numbers[at.0].extract_tensor_mut().1
    }

    fn write_indices(&mut self, at: Indices) -> &mut [i64] {
        self.indices[at.0].extract_tensor_mut().1
    }

    fn bind(
        &mut self,
        inputs: &[(&str, Place)],
        outputs: &[(&str, Numbers)],
    ) -> Result<Binding, TrainError> {
        let mut binding = self.session.create_binding()?;
        for (name, place) in inputs {
            match place {
                Place::Numbers(at) => binding.bind_input(*name, &self.numbers[at.0])?,
                Place::Indices(at) => binding.bind_input(*name, &self.indices[at.0])?,
            }
        }
        for (name, at) in outputs {
            binding.bind_output(*name, &mut self.numbers[at.0])?;
        }
        self.bindings.push(binding);
        Ok(Binding(self.bindings.len() - 1))
    }

    fn run(&mut self, binding: Binding) -> Result<(), TrainError> {
        self.session.run_binding(&self.bindings[binding.0])?;
        Ok(())
    }
}

/// A tensor that the runtime owns.
fn tensor<T: PrimitiveTensorElementType + std::fmt::Debug>(
    session: &Session,
    shape: &[usize],
) -> Result<Tensor<T>, TrainError> {
    let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    Ok(Tensor::new(session.allocator(), shape)?)
}
