//! The second stage: loss, and gradients by reverse accumulation.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::Loss;

use crate::builder::{GraphBuilder, Noise};
use crate::error::ModelError;
use crate::forward::{ForwardModel, Role, label};
use crate::graph::{Graph, Node, Site, ValueId};
use crate::losses::{self, LossNodes};
use crate::proto::TensorProto;
use crate::shape::{Dim, Element, ValueType};
use crate::tensor::{Data, encode_ints};

/// A forward model with a loss, and a gradient for every parameter.
pub struct Differentiated<'a> {
    pub(crate) model: &'a ForwardModel,
    pub(crate) builder: GraphBuilder,
    pub(crate) loss: LossNodes,
    /// Where each parameter's next value comes from, in their order.
    pub(crate) moves: Vec<Move>,
}

/// How a step moves a parameter.
pub(crate) enum Move {
    /// Along this gradient of the batch's mean loss.
    Gradient(String),
    /// To this value, which the forward pass has computed.
    To(String),
}

impl<'a> Differentiated<'a> {
    /// Writes the loss and the backward pass behind the forward pass, in which operators work as they do
    /// in training.
    ///
    /// A model that ends in Softmax, LogSoftmax or Sigmoid under the loss that contains it is trained
    /// from what goes into that last node, which is exact and cannot overflow.
    ///
    /// # Errors
    /// The output does not fit the loss, or a parameter cannot be differentiated.
    pub fn new(model: &'a ForwardModel, loss: Loss) -> Result<Self, ModelError> {
        Self::of(model, loss, false)
    }

    /// The same where each example has a weight `wᵢ` that comes in with it: the loss of a batch, of which
    /// the gradients are, is `Σ wᵢ·lᵢ / Σ wᵢ`, and nothing where all weights are 0.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn weighted(model: &'a ForwardModel, loss: Loss) -> Result<Self, ModelError> {
        Self::of(model, loss, true)
    }

    fn of(model: &'a ForwardModel, loss: Loss, weighted: bool) -> Result<Self, ModelError> {
        let graph = &model.graph;
        let logits = losses::logits(graph, loss);
        let mut builder = write_forward(model, logits, Purpose::Train)?;
        let mut loss = losses::write(loss, &graph.values[logits], &mut builder)?;
        if weighted {
            losses::weigh(&mut loss, &graph.values[logits], &mut builder);
        }
        let moves = backward(model, logits, &loss.gradient, &mut builder)?;
        if let Some(input) = graph.inputs.first() {
            builder.multiply_row_sums(&graph.values[*input].name);
            builder.check()?;
        }
        Ok(Self {
            model,
            builder,
            loss,
            moves,
        })
    }
}

/// What a forward pass is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Train,
    Evaluate,
}

/// A builder holding the user's nodes up to a value; parameters stay open as graph inputs.
///
/// # Errors
/// A node cannot be trained.
pub(crate) fn write_forward(
    model: &ForwardModel,
    until: ValueId,
    purpose: Purpose,
) -> Result<GraphBuilder, ModelError> {
    let graph = &model.graph;
    let mut builder = GraphBuilder::new(model.names()).with_nodes_max(model.written_nodes_max);
    builder.kernels = model.kernels;
    let needed = needed_for(graph, until);
    for (index, node) in graph.nodes.iter().enumerate() {
        if !node.outputs.iter().flatten().any(|id| needed[*id]) {
            continue;
        }
        if let Some(known) = known_outputs(graph, node) {
            builder.initializers.extend(known);
            continue;
        }
        let purpose = match is_settled(model, node) {
            true => Purpose::Evaluate,
            false => purpose,
        };
        write_node(graph, index, purpose, &mut builder)?;
        builder.check()?;
    }
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
    Ok(builder)
}

/// Whether the node's running statistics are frozen: then it works as in evaluation.
fn is_settled(model: &ForwardModel, node: &Node) -> bool {
    let indices = node.operator.statistics().iter();
    let mut names = indices.map(|index| node.proto.input.get(*index));
    let frozen = |name: Option<&String>| name.is_some_and(|name| model.frozen.contains(name));
    !node.operator.statistics().is_empty() && names.all(frozen)
}

/// The outputs of a node as tensors, where all are whole numbers that are known already: exporters
/// compute shapes in many small nodes.
fn known_outputs(graph: &Graph, node: &Node) -> Option<Vec<TensorProto>> {
    let outputs = node.outputs.iter().flatten().map(|id| &graph.values[*id]);
    let tensors = outputs.map(|value| {
        let tensor = value.constant.as_ref()?;
        match &tensor.data {
            Data::I64(numbers) if value.value_type.element == Element::I64 => {
                Some(encode_ints(&value.name, &tensor.dims, numbers))
            }
            _ => None,
        }
    });
    tensors.collect()
}

/// Writes one of the user's nodes, or what it is for that purpose.
///
/// # Errors
/// It cannot be trained.
pub(crate) fn write_node(
    graph: &Graph,
    index: usize,
    purpose: Purpose,
    builder: &mut GraphBuilder,
) -> Result<(), ModelError> {
    let node = &graph.nodes[index];
    let site = Site::new(graph.opset, &graph.values, node, None);
    let replaced = match purpose {
        Purpose::Train => node.operator.train(&site, builder),
        Purpose::Evaluate => node.operator.evaluate(&site, builder),
    };
    if !replaced.map_err(|reason| fault(index, node, reason))? {
        builder.nodes.push(node.proto.clone());
    }
    Ok(())
}

fn fault(index: usize, node: &Node, reason: String) -> ModelError {
    ModelError::Node {
        node: label(index, &node.proto),
        operator: node.operator.name().to_owned(),
        reason,
    }
}

/// For every value, whether it is needed to compute this one.
fn needed_for(graph: &Graph, value: ValueId) -> Vec<bool> {
    let mut needed = vec![false; graph.values.len()];
    needed[value] = true;
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().flatten().any(|id| needed[*id]) {
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
) -> Result<Vec<Move>, ModelError> {
    let graph = &model.graph;
    let weights = model.parameters.iter();
    let sources: Vec<ValueId> = weights
        .filter(|own| own.role == Role::Weight)
        .filter_map(|parameter| graph.find(&parameter.name))
        .collect();
    let wanted = graph.depending_on(&sources);
    let mut gradients: BTreeMap<ValueId, String> = BTreeMap::from([(logits, seed.to_owned())]);
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let upstream: Vec<Option<String>> = node
            .outputs
            .iter()
            .map(|output| gradients.get(&output.filter(|id| wanted[*id])?).cloned())
            .collect();
        if upstream.iter().all(Option::is_none) {
            continue;
        }
        let site = Site::new(graph.opset, &graph.values, node, Some(&wanted));
        let own = node.operator.gradients(&site, &upstream, builder);
        let own = own.map_err(|reason| fault(index, node, reason))?;
        builder.check()?;
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
    let parameters = model.parameters.iter();
    parameters
        .map(|parameter| {
            let id = graph.find(&parameter.name);
            let unreached = || ModelError::Parameter {
                name: parameter.name.clone(),
                reason: "no gradient of the loss reaches it".to_owned(),
            };
            match parameter.role {
                Role::Weight => {
                    let gradient = id.and_then(|id| gradients.get(&id).cloned());
                    gradient.map(Move::Gradient).ok_or_else(unreached)
                }
                Role::Statistic => {
                    let next = builder.statistics.get(&parameter.name).cloned();
                    // Behind what the loss is taken of nothing moves it.
                    let stays = || builder.node("Identity", &[&parameter.name], &[]);
                    Ok(Move::To(next.unwrap_or_else(stays)))
                }
            }
        })
        .collect()
}

/// The graph inputs common to training and evaluation: examples, targets and what they count, parameters,
/// random numbers.
pub(crate) fn graph_inputs(
    model: &ForwardModel,
    loss: &LossNodes,
    noise: &[Noise],
) -> Vec<(String, ValueType)> {
    let own = model.graph.inputs.iter().map(|id| &model.graph.values[*id]);
    let mut inputs: Vec<(String, ValueType)> = own
        .map(|input| (input.name.clone(), input.value_type.clone()))
        .collect();
    inputs.push(loss.target.clone());
    let each = ValueType::f32(vec![Dim::Batch(1)]);
    let weight = loss.weight.iter();
    inputs.extend(weight.map(|name| (name.clone(), each.clone())));
    for parameter in &model.parameters {
        let shape = parameter
            .shape
            .iter()
            .map(|size| Dim::Fixed(*size))
            .collect();
        inputs.push((parameter.name.clone(), ValueType::f32(shape)));
    }
    let noise = noise.iter();
    inputs.extend(noise.map(|own| (own.input.clone(), ValueType::f32(own.shape.clone()))));
    inputs
}
