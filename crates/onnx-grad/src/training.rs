//! The third stage, for training: one optimiser step as a graph.

use fl_model::TrainingSpec;

use crate::builder::Noise;
use crate::differentiate::{Differentiated, graph_inputs};
use crate::error::ModelError;
use crate::forward::{ForwardModel, Parameter, Role, Scope};
use crate::optimizer::{self, Update};
use crate::shape::{Dim, Element, ValueType, batch_axis};

/// A parameter of a training graph: where it goes in and comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSlot {
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Name of the graph input, which is the initialiser's name in the user's model.
    pub input: String,
    /// Name of the graph output with the value after the step.
    pub output: String,
    /// Name of the graph input for the round's global value, when the proximal term is on.
    pub anchor: Option<String>,
}

/// Random numbers that a step wants: each is 1 with probability `keep` and 0 otherwise, drawn anew for
/// every step.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSlot {
    /// Name of the graph input, float32.
    pub input: String,
    /// Numbers for each example of the batch, or in all where the shape has no batch.
    pub dims: Vec<u64>,
    /// Axis of the batch in the input's shape, at which `dims` has how many times the batch it is.
    pub batch_axis: Option<usize>,
    /// Probability of a 1.
    pub keep: f32,
}

/// State that an optimiser carries from one step to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct StateSlot {
    /// Its dimensions; none for a scalar.
    pub shape: Vec<u64>,
    /// Every element's value before the first step.
    pub initial: f32,
    /// Name of the graph input.
    pub input: String,
    /// Name of the graph output with the value after the step.
    pub output: String,
}

impl StateSlot {
    pub(crate) fn zeros(shape: &[u64], input: String, output: String) -> Self {
        Self {
            shape: shape.to_vec(),
            initial: 0.0,
            input,
            output,
        }
    }
}

/// One step of training on one batch, as an ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingGraph {
    /// The model, protobuf.
    pub bytes: Vec<u8>,
    /// Graph inputs for the examples, in the order and of the types of
    /// [`crate::ForwardModel::inputs`].
    pub inputs: Vec<String>,
    /// Graph input for the targets: int64 `[N]` for softmax cross-entropy, otherwise float32 in the
    /// shape of the model's output.
    pub target: String,
    /// Graph input for what each example counts, float32 `[N]`, where they do not count the same.
    pub weight: Option<String>,
    /// Graph input for the learning rate, float32 `[]`; what the spec says of it is only checked.
    pub learning_rate: String,
    /// Graph output: sum of the losses of the batch's examples, taken before the step and each counted once, float32 `[]`.
    pub loss_sum: String,
    /// The parameters, in the order of [`crate::ForwardModel::parameters`].
    pub parameters: Vec<ParameterSlot>,
    /// What the optimiser remembers.
    pub state: Vec<StateSlot>,
    /// What the step wants random.
    pub noise: Vec<NoiseSlot>,
}

impl TrainingGraph {
    /// Adds the optimiser.
    ///
    /// # Errors
    /// A hyper-parameter is out of range.
    pub fn new(
        differentiated: Differentiated<'_>,
        spec: &TrainingSpec,
    ) -> Result<Self, ModelError> {
        let Differentiated {
            model,
            mut builder,
            loss,
            moves,
        } = differentiated;
        let pulled = |own: &Parameter| own.role == Role::Weight && own.scope == Scope::Shared;
        let proximal = |own: &Parameter| spec.proximal > 0.0 && pulled(own);
        let anchors: Vec<Option<String>> = model
            .parameters
            .iter()
            .map(|own| proximal(own).then(|| builder.fresh("fl.global")))
            .collect();
        let updates: Vec<Update<'_>> = model
            .parameters
            .iter()
            .zip(&moves)
            .zip(&anchors)
            .map(|((parameter, moves), anchor)| Update {
                parameter,
                moves,
                anchor: anchor.as_deref(),
            })
            .collect();
        let optimizer::Written {
            outputs: after,
            state,
            learning_rate,
        } = optimizer::write(
            spec,
            &updates,
            (&loss.gradient, in_float32(model)),
            &mut builder,
        )?;
        builder.check()?;
        let loss_sum = builder.reduce_sum(&loss.per_example, &[0], false);

        let fixed =
            |shape: &[u64]| ValueType::f32(shape.iter().map(|size| Dim::Fixed(*size)).collect());
        let parameters: Vec<ParameterSlot> = model
            .parameters
            .iter()
            .zip(after)
            .zip(anchors)
            .map(|((parameter, output), anchor)| ParameterSlot {
                shape: parameter.shape.clone(),
                input: parameter.name.clone(),
                output,
                anchor,
            })
            .collect();
        let noise = std::mem::take(&mut builder.noise);
        let mut inputs = graph_inputs(model, &loss, &noise);
        inputs.push((learning_rate.clone(), ValueType::f32(Vec::new())));
        let mut outputs = vec![(loss_sum.clone(), ValueType::f32(Vec::new()))];
        for slot in &parameters {
            outputs.push((slot.output.clone(), fixed(&slot.shape)));
            inputs.extend(
                slot.anchor
                    .iter()
                    .map(|name| (name.clone(), fixed(&slot.shape))),
            );
        }
        for slot in &state {
            inputs.push((slot.input.clone(), fixed(&slot.shape)));
            outputs.push((slot.output.clone(), fixed(&slot.shape)));
        }
        Ok(Self {
            bytes: builder.finish("training", model.graph.opset, &inputs, &outputs),
            inputs: model.inputs().into_iter().map(|input| input.name).collect(),
            target: loss.target.0,
            weight: loss.weight,
            learning_rate,
            loss_sum,
            parameters,
            state,
            noise: noise.into_iter().map(NoiseSlot::from).collect(),
        })
    }
}

/// Whether the model computes in no narrower numbers.
fn in_float32(model: &ForwardModel) -> bool {
    let mut values = model.graph.values.iter();
    values.all(|value| value.value_type.element != Element::F16)
}

impl From<Noise> for NoiseSlot {
    fn from(noise: Noise) -> Self {
        let sizes = noise.shape.iter().map(|dim| match dim {
            Dim::Fixed(size) | Dim::Batch(size) => *size,
        });
        Self {
            input: noise.input,
            dims: sizes.collect(),
            batch_axis: batch_axis(&noise.shape),
            keep: noise.keep,
        }
    }
}
