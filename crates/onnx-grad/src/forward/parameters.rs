//! What training may change in a model.

use std::collections::BTreeSet;

use fl_model::ModelOptions;

use super::partition::{self, Part};
use crate::error::ModelError;
use crate::graph::{Graph, Node, ValueId};
use crate::lora::Lowered;
use crate::tensor::Data;

/// What a parameter is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The optimiser moves it along its gradient.
    Weight,
    /// A running statistic, of batch normalisation: each step moves it towards what the batch shows.
    Statistic,
}

/// Where a parameter lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It travels: all devices have the same at the start of a round.
    Shared,
    /// Each device keeps its own.
    Local,
}

/// A float32 initialiser that training may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Whether it has a gradient.
    pub role: Role,
    /// Whether it travels.
    pub scope: Scope,
    /// Name of the initialiser.
    pub name: String,
    /// Its dimensions; at least one.
    pub shape: Vec<u64>,
    /// Its value in the model file, row-major.
    pub initial: Vec<f32>,
}

/// What training may change, those first that travel, and the names of what stays as it is.
pub(super) fn parameters(
    graph: &Graph,
    options: &ModelOptions,
    lora: Option<&Lowered>,
) -> Result<(Vec<Parameter>, BTreeSet<String>), ModelError> {
    let mut all = candidates(graph)?;
    let mut frozen = BTreeSet::new();
    if let Some(lora) = lora {
        let adapters = lora.adapters.names();
        let (trained, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|own| adapters.contains(&own.name));
        all = trained;
        frozen.extend(others.into_iter().map(|own| own.name));
    }
    let names: Vec<&str> = all.iter().map(|own| own.name.as_str()).collect();
    let parts = partition::partition(&names, options)?;
    for (own, part) in all.iter_mut().zip(&parts) {
        match part {
            Part::Shared => {}
            Part::Local => own.scope = Scope::Local,
            Part::Frozen => {
                frozen.insert(own.name.clone());
            }
        }
    }
    all.retain(|own| !frozen.contains(&own.name));
    let nothing = |what: &str| Err(ModelError::Graph(what.to_owned()));
    if !all.iter().any(|own| own.role == Role::Weight) {
        return nothing("has no weight left to train: all of them are frozen");
    }
    if all.iter().all(|own| own.scope == Scope::Local) {
        return nothing("has nothing that travels: leave some parameters neither frozen nor local");
    }
    for node in &graph.nodes {
        let own = statistics_of(node);
        let is_frozen = |id: &ValueId| frozen.contains(&graph.values[*id].name);
        if own.iter().any(is_frozen) && !own.iter().all(is_frozen) {
            let names: Vec<&str> = own
                .iter()
                .map(|id| graph.values[*id].name.as_str())
                .collect();
            return Err(ModelError::Graph(format!(
                "normalises by {}, of which one is frozen: freeze all or none",
                names.join(" and ")
            )));
        }
    }
    // A stable order: what travels has the place that it has without the others.
    all.sort_by_key(|own| own.scope == Scope::Local);
    Ok((all, frozen))
}

/// Float initialisers of rank 1 or more from which a gradient can flow to the output, and the running
/// statistics of the model.
fn candidates(graph: &Graph) -> Result<Vec<Parameter>, ModelError> {
    let reaching = graph.reaching_output();
    let statistics = statistics(graph);
    let mut parameters = Vec::new();
    for (id, value) in graph.values.iter().enumerate() {
        let role = match (statistics.contains(&id), reaching[id]) {
            (true, _) => Role::Statistic,
            (false, true) => Role::Weight,
            (false, false) => continue,
        };
        let (true, Some(tensor)) = (graph.is_initializer(id), &value.constant) else {
            continue;
        };
        let Data::F32(initial) = &tensor.data else {
            continue;
        };
        if tensor.dims.is_empty() || initial.is_empty() || is_made_up(&value.name, initial) {
            continue;
        }
        if let Some(at) = initial.iter().position(|number| !number.is_finite()) {
            return Err(ModelError::Tensor {
                name: value.name.clone(),
                reason: format!(
                    "element {at} is {}; a parameter must be finite",
                    initial[at]
                ),
            });
        }
        parameters.push(Parameter {
            role,
            scope: Scope::Shared,
            name: value.name.clone(),
            shape: tensor.dims.clone(),
            initial: initial.clone(),
        });
    }
    if !parameters.iter().any(|own| own.role == Role::Weight) {
        return Err(ModelError::Graph(
            "has no float32 initialiser that reaches the output; export it with its weights inside"
                .to_owned(),
        ));
    }
    Ok(parameters)
}

/// The initialisers that nodes keep as running statistics.
fn statistics(graph: &Graph) -> BTreeSet<ValueId> {
    graph.nodes.iter().flat_map(statistics_of).collect()
}

/// What a node keeps as running statistics.
fn statistics_of(node: &Node) -> Vec<ValueId> {
    let inputs = node.operator.statistics().iter();
    let ids = inputs.filter_map(|index| node.inputs.get(*index).copied().flatten());
    ids.collect()
}

/// Whether PyTorch's newer exporter has made a number of its own an initialiser, such as the factor of
/// attention's scores: it calls them `val_7`, and users' parameters as they are called in the module.
fn is_made_up(name: &str, values: &[f32]) -> bool {
    let number = name.strip_prefix("val_");
    values.len() == 1 && number.is_some_and(|number| number.parse::<u32>().is_ok())
}
