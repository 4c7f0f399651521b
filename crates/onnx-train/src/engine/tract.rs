//! tract: Rust alone, for devices that have no build of ONNX Runtime. It needs to know all shapes, so that a
//! graph is made ready for each set of them; a training run has one, or two where a last batch is smaller.
//!
//! A defect of tract is an error here, and never a panic; what it would compute wrongly is refused.

mod differences;
mod rewrite;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onnx_grad::Interface;
use tract_onnx::prelude::{
    Framework as _, InferenceModel, InferenceModelExt as _, TDim, TractError, TypedSimplePlan,
};
use tract_onnx::tract_hir::internal::{
    Datum, Factoid as _, InferenceFact, IntoArcTensor as _, IntoRunnable as _, IntoTValue as _,
    TValue, TVec, Tensor, TractResult, format_err,
};

use super::{Binding, Indices, Memory, Numbers, Place, View};
use crate::error::TrainError;

/// Sets of shapes for which a graph is kept ready.
const READY_MAX: usize = 4;

/// Nodes that are optimised at most: five thousand take 2 s, and more take longer than in proportion.
const OPTIMIZED_NODES_MAX: usize = 10_000;

/// The shapes of a graph's inputs, in its order.
type Shapes = Vec<Vec<usize>>;

/// A graph as it was read, and made ready.
pub(super) struct Loaded {
    model: InferenceModel,
    interface: Interface,
    /// The last one used is at the end.
    ready: Vec<(Shapes, Arc<TypedSimplePlan>)>,
}

/// Reads a graph.
pub(super) fn load(graph: &[u8]) -> Result<Loaded, TrainError> {
    let interface = Interface::of(graph)?;
    let onnx = tract_onnx::onnx();
    let mut proto = onnx.proto_model_for_read(&mut &*graph)?;
    differences::mend(&mut proto)?;
    let loaded = Loaded {
        model: guarded(|| onnx.model_for_proto_model(&proto))?,
        interface,
        ready: Vec::new(),
    };
    guarded(|| loaded.check())?;
    Ok(loaded)
}

/// Runs what is tract's, where a panic is an error. Nothing that it may have left half done is used again.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format_err!(
            "it failed: {}",
            text.unwrap_or("for no known reason")
        ))
    })
}

/// What a run says may have numbers of a device's data in it, what loading says has not.
fn failed(error: TractError) -> TrainError {
    TrainError::TractRun(format!("{error:#}"))
}

impl Loaded {
    /// Finds out now what tract lacks for the graph, with a batch of one where the batch is all that is open.
    fn check(&self) -> TractResult<()> {
        let facts = self.model.input_outlets()?.iter();
        let shapes = facts.map(|outlet| {
            let fact = self.model.outlet_fact(*outlet).ok()?;
            let dims = fact.shape.dims().map(|dim| dim.concretize());
            let one = |dim: TDim| dim.to_i64().map_or(1, |size| size as usize);
            dims.map(|dim| dim.map(one)).collect()
        });
        match shapes.collect::<Option<Shapes>>() {
            Some(shapes) => self.with_shapes(&shapes)?.into_typed().map(drop),
            None => Ok(()),
        }
    }

    fn with_shapes(&self, shapes: &Shapes) -> TractResult<InferenceModel> {
        let mut model = self.model.clone();
        for (at, shape) in shapes.iter().enumerate() {
            let element = model.input_fact(at)?.datum_type.concretize();
            let element = element.ok_or_else(|| format_err!("an input has no type"))?;
            model.set_input_fact(at, InferenceFact::dt_shape(element, shape))?;
        }
        Ok(model)
    }

    /// The graph for inputs of these shapes, optimised where tract can.
    fn plan(&self, shapes: &Shapes) -> TractResult<Arc<TypedSimplePlan>> {
        let plain = self.with_shapes(shapes)?.into_typed()?;
        if plain.nodes.len() > OPTIMIZED_NODES_MAX {
            return plain.into_runnable();
        }
        let optimized = guarded(|| plain.clone().into_optimized()?.into_runnable());
        optimized.or_else(|_| plain.into_runnable())
    }

    /// The same, once.
    fn ready(&mut self, shapes: Shapes) -> TractResult<Arc<TypedSimplePlan>> {
        let known = self.ready.iter().position(|(own, _)| *own == shapes);
        let last = match known {
            Some(at) => self.ready.remove(at),
            None => {
                let plan = guarded(|| self.plan(&shapes))?;
                if self.ready.len() >= READY_MAX {
                    self.ready.remove(0);
                }
                (shapes, plan)
            }
        };
        let plan = last.1.clone();
        self.ready.push(last);
        Ok(plan)
    }

    /// What is given, in the order of the graph's inputs.
    fn in_order<'a, T>(&self, given: &'a [(&str, T)]) -> Result<Vec<&'a T>, TrainError> {
        let names = self.interface.inputs.iter();
        let own = names.map(|port| given.iter().find(|(name, _)| *name == port.name));
        let own: Option<Vec<_>> = own.collect();
        let own = own.ok_or_else(|| TrainError::Tract("an input is missing".to_owned()))?;
        Ok(own.into_iter().map(|(_, value)| value).collect())
    }

    /// The place of an output.
    fn output(&self, name: &str) -> Result<usize, TrainError> {
        let mut outputs = self.interface.outputs.iter();
        outputs
            .position(|own| own == name)
            .ok_or_else(|| TrainError::Tract(format!("there is no output `{name}`")))
    }
}

impl super::Session for Loaded {
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &[&str],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let given = self.in_order(inputs)?;
        let given = given.into_iter().map(|view| match view {
            View::Numbers(shape, data) => Tensor::from_shape(shape, data),
            View::Indices(shape, data) => Tensor::from_shape(shape, data),
        });
        let given: Vec<Tensor> = given.collect::<TractResult<_>>()?;
        let shapes = given.iter().map(|own| own.shape().to_vec()).collect();
        let places: Vec<usize> = outputs
            .iter()
            .map(|name| self.output(name))
            .collect::<Result<_, _>>()?;
        let given = given.into_iter().map(|own| own.into_tvalue()).collect();
        let plan = self.ready(shapes)?;
        let made = guarded(|| plan.run(given)).map_err(failed)?;
        let numbers = |at: usize| Ok(elements::<f32>(&made[at])?.to_vec());
        places.into_iter().map(numbers).collect()
    }

    fn memory(&mut self) -> Box<dyn Memory + '_> {
        Box::new(Tensors {
            loaded: self,
            tensors: Vec::new(),
            runs: Vec::new(),
        })
    }
}

/// Tensors of a graph. A run takes them without a copy, and puts what it made in their place.
struct Tensors<'a> {
    loaded: &'a mut Loaded,
    tensors: Vec<Arc<Tensor>>,
    runs: Vec<Run>,
}

/// Which tensors a run reads, in the order of the graph's inputs, and where each of its outputs goes.
struct Run {
    plan: Arc<TypedSimplePlan>,
    reads: Vec<usize>,
    /// Place among the graph's outputs, and among the tensors.
    writes: Vec<(usize, usize)>,
}

impl Tensors<'_> {
    fn add(&mut self, tensor: Tensor) -> usize {
        self.tensors.push(Arc::new(tensor));
        self.tensors.len() - 1
    }
}

impl Memory for Tensors<'_> {
    fn numbers(&mut self, shape: &[usize]) -> Result<Numbers, TrainError> {
        Ok(Numbers(self.add(Tensor::zero::<f32>(shape)?)))
    }

    fn indices(&mut self, shape: &[usize]) -> Result<Indices, TrainError> {
        Ok(Indices(self.add(Tensor::zero::<i64>(shape)?)))
    }

    fn read(&self, at: Numbers) -> &[f32] {
        match elements(&self.tensors[at.0]) {
            Ok(elements) => elements,
            Err(_) => unreachable!("{OTHER}"),
        }
    }

    fn write(&mut self, at: Numbers) -> &mut [f32] {
        elements_mut(&mut self.tensors[at.0])
    }

    fn write_indices(&mut self, at: Indices) -> &mut [i64] {
        elements_mut(&mut self.tensors[at.0])
    }

    fn bind(
        &mut self,
        inputs: &[(&str, Place)],
        outputs: &[(&str, Numbers)],
    ) -> Result<Binding, TrainError> {
        let place = |place: &Place| match place {
            Place::Numbers(Numbers(at)) | Place::Indices(Indices(at)) => *at,
        };
        let reads: Vec<usize> = self
            .loaded
            .in_order(inputs)?
            .into_iter()
            .map(place)
            .collect();
        let shapes = reads.iter().map(|at| self.tensors[*at].shape().to_vec());
        let plan = self.loaded.ready(shapes.collect())?;
        let writes = outputs.iter();
        let writes = writes.map(|(name, at)| Ok((self.loaded.output(name)?, at.0)));
        self.runs.push(Run {
            plan,
            reads,
            writes: writes.collect::<Result<_, TrainError>>()?,
        });
        Ok(Binding(self.runs.len() - 1))
    }

    fn run(&mut self, binding: Binding) -> Result<(), TrainError> {
        let run = &mut self.runs[binding.0];
        let given = run.reads.iter().map(|at| self.tensors[*at].clone());
        let given: TVec<TValue> = given.map(TValue::from_const).collect();
        // Each run in a state of its own: in one that is kept, recurrent layers go on from the run before.
        let made = guarded(|| run.plan.run(given)).map_err(failed)?;
        for (from, to) in &run.writes {
            let made = made[*from].clone().into_arc_tensor();
            let expected = &mut self.tensors[*to];
            if made.datum_type() != expected.datum_type() || made.shape() != expected.shape() {
                let [made, expected] = [&made, &*expected].map(|own| own.shape().to_vec());
                let what = format!("it makes {made:?} in place of {expected:?}");
                return Err(TrainError::Tract(what));
            }
            *expected = made;
        }
        Ok(())
    }
}

/// Why the elements of a tensor are always there: no other tensor is ever put into a memory.
const OTHER: &str = "a tensor of another type";

fn elements<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice()
}

/// Of a tensor that only its memory has; otherwise of a copy, which takes its place.
fn elements_mut<T: Datum>(tensor: &mut Arc<Tensor>) -> &mut [T] {
    let array = Arc::make_mut(tensor).to_plain_array_view_mut::<T>();
    match array.map(|array| array.into_slice()) {
        Ok(Some(elements)) => elements,
        _ => unreachable!("{OTHER}"),
    }
}
