//! What a graph may hold at most.

use crate::error::ModelError;
use crate::limits::Limits;
use crate::proto::GraphProto;

/// Refuses a graph that is larger than allowed: one that is read, before anything of it is copied, and one
/// that has been rewritten.
pub(crate) fn check(graph: &GraphProto, limits: &Limits) -> Result<(), ModelError> {
    let too_many = |what: &str, count: usize, max: usize| {
        Err(ModelError::Graph(format!(
            "has {count} {what}, more than {max}"
        )))
    };
    if graph.node.len() > limits.nodes_max {
        return too_many("nodes", graph.node.len(), limits.nodes_max);
    }
    if graph.initializer.len() > limits.initializers_max {
        return too_many(
            "initialisers",
            graph.initializer.len(),
            limits.initializers_max,
        );
    }
    let links = graph.node.iter();
    let links: usize = links.map(|node| node.input.len() + node.output.len()).sum();
    if links > limits.links_max {
        return too_many("inputs and outputs of nodes", links, limits.links_max);
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(ModelError::Graph(
            "has sparse initialisers, which are not supported; store them dense".to_owned(),
        ));
    }
    let node_names = graph.node.iter().flat_map(|node| {
        [node.name(), node.op_type(), node.domain()]
            .into_iter()
            .chain(node.input.iter().map(String::as_str))
            .chain(node.output.iter().map(String::as_str))
    });
    let tensor_names = graph.initializer.iter().map(|tensor| tensor.name());
    let info_names = graph
        .input
        .iter()
        .chain(&graph.output)
        .map(|info| info.name());
    for name in node_names.chain(tensor_names).chain(info_names) {
        if name.len() > limits.name_bytes_max {
            return too_many("bytes in one name", name.len(), limits.name_bytes_max);
        }
    }
    Ok(())
}
