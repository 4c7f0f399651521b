//! The third stage, for who takes steps of their own: loss and gradients as a graph.

use crate::differentiate::{Differentiated, Move, graph_inputs};
use crate::forward::Role;
use crate::shape::{Dim, ValueType};
use crate::training::NoiseSlot;

/// A parameter of a gradient graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GradientSlot {
    /// What it is to training.
    pub role: Role,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Name of the graph input, which is the initialiser's name in the user's model.
    pub input: String,
    /// Name of the graph output: for a weight the gradient of the batch's mean loss, for a running
    /// statistic its next value.
    pub output: String,
}

/// Loss and gradients of one batch, as an ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientGraph {
    /// The model, protobuf.
    pub bytes: Vec<u8>,
    /// Graph inputs for the examples, in the order and of the types of
    /// [`crate::ForwardModel::inputs`].
    pub inputs: Vec<String>,
    /// Graph input for the targets, as in a [`crate::TrainingGraph`].
    pub target: String,
    /// Graph input for what each example counts, float32 `[N]`, where they do not count the same.
    pub weight: Option<String>,
    /// Graph output: sum of the losses of the batch's examples, each counted once, float32 `[]`.
    pub loss_sum: String,
    /// The parameters, in the order of [`crate::ForwardModel::parameters`].
    pub parameters: Vec<GradientSlot>,
    /// What the graph wants random.
    pub noise: Vec<NoiseSlot>,
}

impl GradientGraph {
    /// Makes outputs of the gradients.
    pub fn new(differentiated: Differentiated<'_>) -> Self {
        let Differentiated {
            model,
            mut builder,
            loss,
            moves,
        } = differentiated;
        let loss_sum = builder.reduce_sum(&loss.per_example, &[0], false);
        let noise = std::mem::take(&mut builder.noise);
        let inputs = graph_inputs(model, &loss, &noise);
        let mut outputs = vec![(loss_sum.clone(), ValueType::f32(Vec::new()))];
        let mut parameters = Vec::with_capacity(moves.len());
        for (parameter, moves) in model.parameters.iter().zip(moves) {
            let (Move::Gradient(value) | Move::To(value)) = moves;
            // One value may be the gradient of several parameters; an output has a name of its own.
            let output = builder.node("Identity", &[&value], &[]);
            let shape = parameter
                .shape
                .iter()
                .map(|size| Dim::Fixed(*size))
                .collect();
            outputs.push((output.clone(), ValueType::f32(shape)));
            parameters.push(GradientSlot {
                role: parameter.role,
                shape: parameter.shape.clone(),
                input: parameter.name.clone(),
                output,
            });
        }
        Self {
            bytes: builder.finish("gradients", model.graph.opset, &inputs, &outputs),
            inputs: model.inputs().into_iter().map(|input| input.name).collect(),
            target: loss.target.0,
            weight: loss.weight,
            loss_sum,
            parameters,
            noise: noise.into_iter().map(NoiseSlot::from).collect(),
        }
    }
}
