//! The outputs of a model, and which of them the loss is taken of.

use super::Reader;
use crate::error::ModelError;
use crate::graph::ValueId;
use crate::proto::{GraphProto, ValueInfoProto};
use crate::shape::{Dim, Element, batch_axis, show};

impl Reader<'_> {
    /// The outputs, and the one that the loss is taken of: that with the name, or the first.
    pub(super) fn read_outputs(
        &self,
        graph: &GraphProto,
        name: Option<&str>,
    ) -> Result<(Vec<ValueId>, ValueId), ModelError> {
        let fail = |output: &ValueInfoProto, reason: String| {
            Err(ModelError::Graph(format!(
                "output `{}` {reason}",
                output.name()
            )))
        };
        let mut ids = Vec::with_capacity(graph.output.len());
        for output in &graph.output {
            let Some(&id) = self.by_name.get(output.name()) else {
                return fail(output, "is made by no node".to_owned());
            };
            ids.push(id);
        }
        let mut named = graph.output.iter().zip(&ids);
        let chosen = named.find(|(output, _)| name.is_none_or(|name| output.name() == name));
        let Some((output, &id)) = chosen else {
            let names = graph
                .output
                .iter()
                .map(|output| format!("`{}`", output.name()));
            let names: Vec<String> = names.collect();
            return Err(ModelError::Graph(match name {
                Some(name) => format!("has no output `{name}`; it has {}", names.join(", ")),
                None => "has no output that a loss could be taken of".to_owned(),
            }));
        };
        let value = &self.values[id];
        if value.value_type.element != Element::F32 {
            return fail(output, "is not float32; a loss is taken of it".to_owned());
        }
        if batch_axis(value.shape()) != Some(0) || value.shape()[0] != Dim::Batch(1) {
            let shape = show(value.shape());
            return fail(
                output,
                format!(
                    "has the shape {shape}, but must begin with the batch N; \
                     export the model with a dynamic batch dimension"
                ),
            );
        }
        Ok((ids, id))
    }
}
