//! The third stage, for evaluation: outputs and loss per example as a graph.

use fl_model::Loss;

use crate::differentiate::{Purpose, graph_inputs, write_forward};
use crate::error::ModelError;
use crate::forward::ForwardModel;
use crate::losses;
use crate::shape::{Dim, ValueType, elements_per_example};

/// The forward pass with its loss, as an ONNX model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalGraph {
    /// The model, protobuf.
    pub bytes: Vec<u8>,
    /// Graph inputs for the examples, in the order and of the types of [`ForwardModel::inputs`].
    pub inputs: Vec<String>,
    /// Graph input for the targets: int64 `[N]` for softmax cross-entropy, otherwise float32 in the
    /// shape of the logits.
    pub target: String,
    /// Graph inputs for the parameters, in the order of [`ForwardModel::parameters`].
    pub parameters: Vec<String>,
    /// Graph output: what the loss is computed from, `[N, …]`; before a last Softmax or Sigmoid.
    pub logits: String,
    /// Numbers an example at that output.
    pub logits_width: usize,
    /// Graph output: loss of each example, float32 `[N]`.
    pub loss: String,
}

impl EvalGraph {
    /// Writes the graph.
    ///
    /// # Errors
    /// The output does not fit the loss.
    pub fn new(model: &ForwardModel, loss: Loss) -> Result<Self, ModelError> {
        let logits = losses::logits(&model.graph, loss);
        let mut builder = write_forward(model, logits, Purpose::Evaluate)?;
        let logits = &model.graph.values[logits];
        let nodes = losses::write(loss, logits, &mut builder)?;
        let inputs = graph_inputs(model, &nodes, &[]);
        let outputs = [
            (logits.name.clone(), logits.value_type.clone()),
            (
                nodes.per_example.clone(),
                ValueType::f32(vec![Dim::Batch(1)]),
            ),
        ];
        Ok(Self {
            bytes: builder.finish("evaluation", model.graph.opset, &inputs, &outputs),
            inputs: model.inputs().into_iter().map(|input| input.name).collect(),
            target: nodes.target.0,
            parameters: model
                .parameters
                .iter()
                .map(|own| own.name.clone())
                .collect(),
            logits: logits.name.clone(),
            logits_width: elements_per_example(logits.shape()).unwrap_or(0) as usize,
            loss: nodes.per_example,
        })
    }
}
