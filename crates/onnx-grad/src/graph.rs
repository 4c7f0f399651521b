//! The checked forward graph: values by number, nodes in an order in which they can run.

use std::collections::BTreeMap;

use crate::ops::Operator;
use crate::proto::NodeProto;
use crate::shape::{Element, Int, Shape, ValueType};
use crate::tensor::Tensor;

/// Index into [`Graph::values`].
pub(crate) type ValueId = usize;

/// Anything that a node reads or makes.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) value_type: ValueType,
    /// Its numbers, where they are known when the model is read.
    pub(crate) constant: Option<Tensor>,
}

impl Value {
    pub(crate) fn shape(&self) -> &Shape {
        &self.value_type.shape
    }
}

/// One node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) operator: &'static dyn Operator,
    pub(crate) proto: NodeProto,
    /// Optional inputs that are absent are none.
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// Outputs that the model leaves out are none.
    pub(crate) outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// The outputs that carry a gradient.
    pub(crate) fn graded_outputs(&self) -> impl Iterator<Item = ValueId> + '_ {
        let outputs = self.outputs.iter().copied().enumerate();
        outputs.filter_map(|(index, id)| {
            let graded = self.operator.differentiable_output(index);
            id.filter(|_| graded)
        })
    }
}

/// The nodes of a model.
#[derive(Clone)]
pub(crate) struct Graph {
    pub(crate) opset: i64,
    pub(crate) values: Vec<Value>,
    pub(crate) by_name: BTreeMap<String, ValueId>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// The output that a loss is taken of.
    pub(crate) output: ValueId,
}

impl Graph {
    /// Whether the value stands in the model file rather than being made by a node.
    pub(crate) fn is_initializer(&self, id: ValueId) -> bool {
        self.inputs.first().is_some_and(|input| id < *input)
    }

    /// The output that a loss is taken of.
    pub(crate) fn output(&self) -> ValueId {
        self.output
    }

    /// For every value, whether a gradient at the output reaches it.
    pub(crate) fn reaching_output(&self) -> Vec<bool> {
        let mut reaching = vec![false; self.values.len()];
        reaching[self.output()] = true;
        for node in self.nodes.iter().rev() {
            if !node.graded_outputs().any(|id| reaching[id]) {
                continue;
            }
            for (index, input) in node.inputs.iter().enumerate() {
                if let Some(id) = *input
                    && node.operator.differentiable(index)
                    && self.values[id].value_type.element.is_float()
                {
                    reaching[id] = true;
                }
            }
        }
        reaching
    }

    /// For every value, whether it depends on a value of the given kind by differentiable paths.
    pub(crate) fn depending_on(&self, sources: &[ValueId]) -> Vec<bool> {
        let mut depends = vec![false; self.values.len()];
        for &id in sources {
            depends[id] = true;
        }
        for node in &self.nodes {
            let flows = node.inputs.iter().enumerate().any(|(index, input)| {
                input.is_some_and(|id| depends[id] && node.operator.differentiable(index))
            });
            for output in node.graded_outputs().filter(|_| flows) {
                depends[output] = self.values[output].value_type.element.is_float();
            }
        }
        depends
    }

    /// The value of that name.
    pub(crate) fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }
}

/// What an operator's rules see of a node.
pub(crate) struct Site<'a> {
    pub(crate) opset: i64,
    pub(crate) proto: &'a NodeProto,
    inputs: Vec<Option<&'a Value>>,
    outputs: Vec<Option<&'a Value>>,
    wanted: Vec<bool>,
}

impl<'a> Site<'a> {
    /// The node as its operator sees it; `wanted` says which values need a gradient.
    pub(crate) fn new(
        opset: i64,
        values: &'a [Value],
        node: &'a Node,
        wanted: Option<&[bool]>,
    ) -> Self {
        let inputs = node.inputs.iter();
        Self {
            opset,
            proto: &node.proto,
            inputs: inputs
                .clone()
                .map(|input| input.map(|id| &values[id]))
                .collect(),
            outputs: node
                .outputs
                .iter()
                .map(|output| output.map(|id| &values[id]))
                .collect(),
            wanted: inputs
                .enumerate()
                .map(|(index, input)| match (input, wanted) {
                    (Some(id), Some(wanted)) => wanted[*id] && node.operator.differentiable(index),
                    _ => false,
                })
                .collect(),
        }
    }

    /// An input that must be there.
    pub(crate) fn input(&self, index: usize) -> Result<&'a Value, String> {
        self.optional(index)
            .ok_or_else(|| format!("input {index} is missing"))
    }

    /// An input that may be left out.
    pub(crate) fn optional(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// A float32 input that must be there.
    pub(crate) fn float(&self, index: usize) -> Result<&'a Value, String> {
        let value = self.input(index)?;
        match value.value_type.element {
            Element::F32 => Ok(value),
            other => Err(format!(
                "input {index} (`{}`) is {other:?}; only float32 can be trained, so export the model in float32",
                value.name
            )),
        }
    }

    /// The first output; there is none while shapes are being inferred.
    pub(crate) fn output(&self) -> Result<&'a Value, String> {
        self.optional_output(0)
            .ok_or_else(|| "it has no output".to_owned())
    }

    /// An output that the model may leave out.
    pub(crate) fn optional_output(&self, index: usize) -> Option<&'a Value> {
        self.outputs.get(index).copied().flatten()
    }

    /// Whether this input needs a gradient.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// The whole numbers of an input that must be known when the model is read; none where the input is
    /// left out.
    pub(crate) fn ints(&self, index: usize) -> Result<Option<Vec<Int>>, String> {
        let Some(value) = self.optional(index) else {
            return Ok(None);
        };
        let known = value.constant.as_ref().and_then(Tensor::ints);
        known.map(Some).ok_or_else(|| {
            format!(
                "its input {index} (`{}`) must be int64 and known when the model is read; \
                 export the model with fixed sizes, all but the batch",
                value.name
            )
        })
    }

    /// The same, where none of them may depend on the batch.
    pub(crate) fn fixed_ints(&self, index: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(ints) = self.ints(index)? else {
            return Ok(None);
        };
        let fixed: Option<Vec<i64>> = ints.into_iter().map(Int::fixed).collect();
        fixed.map(Some).ok_or_else(|| {
            let name = self.optional(index).map_or("", |value| &value.name);
            format!("its input {index} (`{name}`) depends on the size of the batch")
        })
    }

    /// Refuses a node with more inputs than its operator has.
    pub(crate) fn at_most_inputs(&self, count: usize) -> Result<(), String> {
        if self.inputs.len() > count {
            return Err(format!(
                "has {} inputs, at most {count} are expected",
                self.inputs.len()
            ));
        }
        Ok(())
    }
}
