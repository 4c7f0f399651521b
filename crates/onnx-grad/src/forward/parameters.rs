//! What training may change in a model.

use std::collections::BTreeSet;

use super::{Parameter, Role};
use crate::error::ModelError;
use crate::graph::{Graph, Node, ValueId};
use crate::tensor::Data;

/// Float initialisers of rank 1 or more from which a gradient can flow to the output, and the running
/// statistics of the model.
pub(super) fn parameters(graph: &Graph) -> Result<Vec<Parameter>, ModelError> {
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
    let of_node = |node: &Node| {
        let inputs = node.operator.statistics().iter();
        let ids = inputs.filter_map(|index| node.inputs.get(*index).copied().flatten());
        ids.collect::<Vec<_>>()
    };
    graph.nodes.iter().flat_map(of_node).collect()
}

/// Whether PyTorch's newer exporter has made a number of its own an initialiser, such as the factor of
/// attention's scores: it calls them `val_7`, and users' parameters as they are called in the module.
fn is_made_up(name: &str, values: &[f32]) -> bool {
    let number = name.strip_prefix("val_");
    values.len() == 1 && number.is_some_and(|number| number.parse::<u32>().is_ok())
}
