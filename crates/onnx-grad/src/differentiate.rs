//! The second stage: loss, and gradients by reverse accumulation.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::Loss;

use crate::builder::GraphBuilder;
use crate::error::ModelError;
use crate::forward::{ForwardModel, label};
use crate::graph::{Graph, Site, ValueId};
use crate::losses::{self, LossNodes};
use crate::shape::{Dim, ValueType};

/// A forward model with a loss, and a gradient for every parameter.
pub struct Differentiated<'a> {
    pub(crate) model: &'a ForwardModel,
    pub(crate) builder: GraphBuilder,
    pub(crate) loss: LossNodes,
    /// Gradient of the batch's mean loss, by parameter.
    pub(crate) gradients: Vec<String>,
}

impl<'a> Differentiated<'a> {
    /// Writes the loss and the backward pass behind the forward pass.
    ///
    /// A model that ends in Softmax, LogSoftmax or Sigmoid under the loss that contains it is trained
    /// from what goes into that last node, which is exact and cannot overflow.
    ///
    /// # Errors
    /// The output does not fit the loss, or a parameter cannot be differentiated.
    pub fn new(model: &'a ForwardModel, loss: Loss) -> Result<Self, ModelError> {
        let graph = &model.graph;
        let logits = losses::logits(graph, loss);
        let mut builder = write_forward(model, logits);
        let loss = losses::write(loss, &graph.values[logits], &mut builder)?;
        let gradients = backward(model, logits, &loss.gradient, &mut builder)?;
        Ok(Self {
            model,
            builder,
            loss,
            gradients,
        })
    }
}

/// A builder holding the user's nodes up to a value; parameters stay open as graph inputs.
pub(crate) fn write_forward(model: &ForwardModel, until: ValueId) -> GraphBuilder {
    let graph = &model.graph;
    let mut builder = GraphBuilder::new(model.names());
    let needed = needed_for(graph, until);
    let nodes = graph.nodes.iter();
    builder.nodes.extend(
        nodes
            .filter(|node| node.outputs.iter().any(|id| needed[*id]))
            .map(|node| node.proto.clone()),
    );
    let open: BTreeSet<&str> = model
        .parameters
        .iter()
        .map(|own| own.name.as_str())
        .collect();
    let initializers = model
        .proto
        .graph
        .iter()
        .flat_map(|graph| &graph.initializer);
    builder.initializers.extend(
        initializers
            .filter(|tensor| graph.find(tensor.name()).is_some_and(|id| needed[id]))
            .filter(|tensor| !open.contains(tensor.name()))
            .cloned(),
    );
    builder
}

/// For every value, whether it is needed to compute this one.
fn needed_for(graph: &Graph, value: ValueId) -> Vec<bool> {
    let mut needed = vec![false; graph.values.len()];
    needed[value] = true;
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|id| needed[*id]) {
            for id in node.inputs.iter().flatten() {
                needed[*id] = true;
            }
        }
    }
    needed
}

fn backward(
    model: &ForwardModel,
    logits: ValueId,
    seed: &str,
    builder: &mut GraphBuilder,
) -> Result<Vec<String>, ModelError> {
    let graph = &model.graph;
    let sources: Vec<ValueId> = model
        .parameters
        .iter()
        .filter_map(|parameter| graph.find(&parameter.name))
        .collect();
    let wanted = graph.depending_on(&sources);
    let mut gradients: BTreeMap<ValueId, String> = BTreeMap::from([(logits, seed.to_owned())]);
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let Some(output) = node.outputs.first().filter(|id| wanted[**id]) else {
            continue;
        };
        let Some(upstream) = gradients.get(output).cloned() else {
            continue;
        };
        let site = Site::new(graph.opset, &graph.values, node, Some(&wanted));
        let own = node
            .operator
            .gradient(&site, &upstream, builder)
            .map_err(|reason| ModelError::Node {
                node: label(index, &node.proto),
                operator: node.operator.name().to_owned(),
                reason,
            })?;
        for (input, gradient) in node.inputs.iter().zip(own) {
            if let (Some(id), Some(gradient)) = (input, gradient)
                && wanted[*id]
            {
                let sum = match gradients.get(id) {
                    Some(earlier) => builder.node("Add", &[earlier, &gradient], &[]),
                    None => gradient,
                };
                gradients.insert(*id, sum);
            }
        }
    }
    model
        .parameters
        .iter()
        .zip(&sources)
        .map(|(parameter, id)| {
            gradients
                .get(id)
                .cloned()
                .ok_or_else(|| ModelError::Parameter {
                    name: parameter.name.clone(),
                    reason: "no gradient of the loss reaches it".to_owned(),
                })
        })
        .collect()
}

/// The graph inputs common to training and evaluation: examples, targets, parameters.
pub(crate) fn graph_inputs(
    model: &ForwardModel,
    target: &(String, ValueType),
) -> Vec<(String, ValueType)> {
    let input = &model.graph.values[model.graph.input];
    let mut inputs = vec![
        (input.name.clone(), input.value_type.clone()),
        target.clone(),
    ];
    for parameter in &model.parameters {
        let shape = parameter
            .shape
            .iter()
            .map(|size| Dim::Fixed(*size))
            .collect();
        inputs.push((parameter.name.clone(), ValueType::f32(shape)));
    }
    inputs
}
