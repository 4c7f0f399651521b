//! The first stage: a user's model, checked.

mod bounds;
mod outputs;
mod parameters;
mod partition;
pub(crate) mod scikit;

use std::collections::{BTreeMap, BTreeSet};

use fl_model::ModelOptions;
use prost::Message;

use crate::error::ModelError;
use crate::graph::{Graph, Node, Value, ValueId};
use crate::kernels::Kernels;
use crate::limits::Limits;
use crate::lora::{self, Lowered};
use crate::ops;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::shape::{Dim, Element, Shape, ValueType, elements_per_example, show};
use crate::tensor::Tensor;

pub(crate) use bounds::check as check_bounds;
pub use parameters::{Parameter, Role, Scope};
pub(crate) use partition::matching;

/// Lowest operator set that is read: where ReduceSum and Softmax took their present form.
const OPSET_MIN: i64 = 13;
/// Highest operator set that is read.
const OPSET_MAX: i64 = 22;

/// An input of a model: one value for each example of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub kind: InputKind,
    /// Dimensions of one example: `[F]` for `[N, F]`.
    pub dims: Vec<u64>,
}

/// Type of the elements of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// float32.
    F32,
    /// int64, such as the indices of an embedding.
    I64,
}

/// A model whose opset, types, shapes, operators and sizes have been checked. The first dimension of
/// every input is the batch, and so is that of the output that the loss is taken of.
#[derive(Clone)]
pub struct ForwardModel {
    pub(crate) proto: ModelProto,
    pub(crate) graph: Graph,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) kernels: Kernels,
    /// Nodes of any graph that is written of it.
    pub(crate) written_nodes_max: usize,
    /// Names of parameters that stay as they are.
    pub(crate) frozen: BTreeSet<String>,
    /// Its adapters, where these are what is trained.
    pub(crate) lora: Option<Lowered>,
}

impl std::fmt::Debug for ForwardModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardModel")
            .field("opset", &self.graph.opset)
            .field("nodes", &self.graph.nodes.len())
            .field("parameters", &self.parameters.len())
            .finish_non_exhaustive()
    }
}

impl ForwardModel {
    /// Reads and checks a model, of whose first output the loss is taken and of which all is trained.
    ///
    /// # Errors
    /// Names the node, tensor or bound at fault; see [`ModelError`].
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ModelError> {
        Self::parse_with(bytes, limits, &ModelOptions::PLAIN)
    }

    /// The same with a choice of the output, and of the parameters that stay as they are or that do not
    /// travel.
    ///
    /// # Errors
    /// As for [`Self::parse`]; an output that the model does not have, a pattern that no parameter's name
    /// fits, or nothing left to train or to travel.
    pub fn parse_with(
        bytes: &[u8],
        limits: &Limits,
        options: &ModelOptions,
    ) -> Result<Self, ModelError> {
        if bytes.len() > limits.model_bytes_max {
            return Err(ModelError::TooLarge {
                bytes: bytes.len(),
                bytes_max: limits.model_bytes_max,
            });
        }
        let mut proto = ModelProto::decode(bytes)?;
        let opset = opset(&proto)?;
        let missing = || ModelError::Graph("is missing; export the model again".to_owned());
        check_bounds(proto.graph.as_ref().ok_or_else(missing)?, limits)?;
        let lora = lora::expand(&mut proto, limits)?;
        scikit::rewrite(&mut proto)?;
        let graph = proto.graph.as_ref().ok_or_else(missing)?;
        let mut reader = Reader {
            limits,
            opset,
            values: Vec::new(),
            by_name: BTreeMap::new(),
            activation_elements: 0,
        };
        reader.read_initializers(graph)?;
        let inputs = reader.read_inputs(graph)?;
        let nodes = graph
            .node
            .iter()
            .enumerate()
            .map(|(index, node)| reader.read_node(index, node))
            .collect::<Result<Vec<_>, _>>()?;
        let (outputs, output) = reader.read_outputs(graph, options.output.as_deref())?;
        let graph = Graph {
            opset,
            values: reader.values,
            by_name: reader.by_name,
            nodes,
            inputs,
            outputs,
            output,
        };
        let (parameters, frozen) = parameters::parameters(&graph, options, lora.as_ref())?;
        Ok(Self {
            proto,
            graph,
            parameters,
            kernels: Kernels::default(),
            written_nodes_max: limits.written_nodes_max,
            frozen,
            lora,
        })
    }

    /// What training may change: first what travels, then what each device keeps for itself, both in the
    /// order of the model file's initialisers. This order is the parameter layout everywhere.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Those of them that travel.
    pub fn shared(&self) -> &[Parameter] {
        let is_shared = |own: &Parameter| own.scope == Scope::Shared;
        let shared = self.parameters.partition_point(is_shared);
        &self.parameters[..shared]
    }

    /// The inputs, in the order of the model file.
    pub fn inputs(&self) -> Vec<InputInfo> {
        let values = self.graph.inputs.iter().map(|id| &self.graph.values[*id]);
        let info = values.map(|value| InputInfo {
            name: value.name.clone(),
            kind: match value.value_type.element {
                Element::I64 => InputKind::I64,
                _ => InputKind::F32,
            },
            dims: example_dims(value.shape()),
        });
        info.collect()
    }

    /// Numbers of the parameters that stay as they are.
    pub fn frozen_numbers(&self) -> u64 {
        let ids = self.frozen.iter().filter_map(|name| self.graph.find(name));
        ids.filter_map(|id| elements_per_example(self.graph.values[id].shape()))
            .sum()
    }

    /// Dimensions of one example at the output of the loss: `[C]` for `[N, C]`, none for `[N]`.
    pub fn output_dims(&self) -> Vec<u64> {
        example_dims(self.graph.values[self.graph.output()].shape())
    }

    /// The operator set that the model was exported for.
    pub fn opset(&self) -> i64 {
        self.graph.opset
    }

    /// Every name in the model, so that new ones can avoid them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.graph.values.iter().map(|value| value.name.clone())
    }
}

/// All but the first dimension, which is the batch.
fn example_dims(shape: &[Dim]) -> Vec<u64> {
    let dims = shape.iter().skip(1);
    dims.map(|dim| match dim {
        Dim::Fixed(size) | Dim::Batch(size) => *size,
    })
    .collect()
}

fn opset(proto: &ModelProto) -> Result<i64, ModelError> {
    let opset = proto
        .opset_import
        .iter()
        .find(|import| matches!(import.domain(), "" | "ai.onnx"))
        .map_or(0, |import| import.version());
    if !(OPSET_MIN..=OPSET_MAX).contains(&opset) {
        return Err(ModelError::Opset {
            opset,
            min: OPSET_MIN,
            max: OPSET_MAX,
        });
    }
    Ok(opset)
}

struct Reader<'a> {
    limits: &'a Limits,
    opset: i64,
    values: Vec<Value>,
    by_name: BTreeMap<String, ValueId>,
    /// Numbers of all intermediate values of one example so far.
    activation_elements: u64,
}

impl Reader<'_> {
    fn define(&mut self, value: Value) -> Result<ValueId, ModelError> {
        let id = self.values.len();
        if value.name.is_empty() {
            return Err(ModelError::Graph("has a value without a name".to_owned()));
        }
        if self.by_name.insert(value.name.clone(), id).is_some() {
            return Err(ModelError::Graph(format!("defines `{}` twice", value.name)));
        }
        self.values.push(value);
        Ok(id)
    }

    fn read_initializers(&mut self, graph: &GraphProto) -> Result<(), ModelError> {
        for proto in &graph.initializer {
            let tensor = Tensor::decode(proto, self.limits)?;
            self.define(Value {
                name: proto.name().to_owned(),
                value_type: tensor.value_type(),
                constant: Some(tensor),
            })?;
        }
        Ok(())
    }

    fn read_inputs(&mut self, graph: &GraphProto) -> Result<Vec<ValueId>, ModelError> {
        let inputs: Vec<&ValueInfoProto> = graph
            .input
            .iter()
            .filter(|info| !self.by_name.contains_key(info.name()))
            .collect();
        if inputs.is_empty() {
            return Err(ModelError::Graph(
                "has no input, so nothing can be learnt from examples".to_owned(),
            ));
        }
        let mut ids = Vec::with_capacity(inputs.len());
        for input in inputs {
            let value_type = self.input_type(input)?;
            ids.push(self.define(Value {
                name: input.name().to_owned(),
                value_type,
                constant: None,
            })?);
        }
        Ok(ids)
    }

    fn input_type(&self, info: &ValueInfoProto) -> Result<ValueType, ModelError> {
        let error = |reason: String| ModelError::Graph(format!("input `{}` {reason}", info.name()));
        let fail = |reason: String| Err(error(reason));
        let Some(type_proto::Value::TensorType(tensor)) =
            info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
        else {
            return fail("is not a tensor".to_owned());
        };
        let element = match Element::from_proto(tensor.elem_type()) {
            Some(element @ (Element::F32 | Element::I64)) => element,
            _ => {
                return fail(
                    "is neither float32 nor int64; export the model with such inputs".to_owned(),
                );
            }
        };
        let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
        if dims.is_empty() || dims.len() > self.limits.rank_max {
            return fail(format!(
                "has rank {}; expected is [batch, features…]",
                dims.len()
            ));
        }
        let mut shape: Shape = vec![Dim::Batch(1)];
        for (axis, dim) in dims.iter().enumerate().skip(1) {
            match dim.value {
                Some(tensor_shape_proto::dimension::Value::DimValue(size)) if size > 0 => {
                    shape.push(Dim::Fixed(size as u64));
                }
                _ => {
                    return fail(format!(
                        "has no fixed size in dimension {axis}; only the first, the batch, may be open"
                    ));
                }
            }
        }
        self.check_size(&shape).map_err(error)?;
        Ok(ValueType { element, shape })
    }

    fn check_size(&self, shape: &[Dim]) -> Result<(), String> {
        if shape.len() > self.limits.rank_max {
            return Err(format!(
                "has rank {}, more than {}",
                shape.len(),
                self.limits.rank_max
            ));
        }
        match elements_per_example(shape) {
            Some(count) if count <= self.limits.tensor_elements_max => {}
            _ => {
                return Err(format!(
                    "has the shape {}, with more than {} elements an example",
                    show(shape),
                    self.limits.tensor_elements_max
                ));
            }
        }
        let symbolic = shape
            .iter()
            .filter(|dim| matches!(dim, Dim::Batch(_)))
            .count();
        if symbolic > 1 {
            return Err(format!(
                "has the shape {}, which mixes examples of a batch",
                show(shape)
            ));
        }
        Ok(())
    }

    fn read_node(&mut self, index: usize, proto: &NodeProto) -> Result<Node, ModelError> {
        let label = label(index, proto);
        let operator = match proto.domain() {
            "" | "ai.onnx" => ops::find(proto.op_type(), self.opset),
            _ => None,
        };
        let Some(operator) = operator else {
            return Err(ModelError::UnsupportedOperator {
                node: label,
                operator: match proto.domain() {
                    "" => proto.op_type().to_owned(),
                    domain => format!("{domain}::{}", proto.op_type()),
                },
            });
        };
        let fail = |reason: String| ModelError::Node {
            node: label.clone(),
            operator: proto.op_type().to_owned(),
            reason,
        };
        let inputs = proto
            .input
            .iter()
            .map(|name| match (name.as_str(), self.by_name.get(name)) {
                ("", _) => Ok(None),
                (_, Some(id)) => Ok(Some(*id)),
                (_, None) => Err(fail(format!(
                    "reads `{name}`, which no input, initialiser or earlier node makes; \
                     nodes must be in order and without cycles"
                ))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut node = Node {
            operator,
            proto: proto.clone(),
            inputs,
            outputs: Vec::new(),
        };
        let (types, constants) = self.infer(&node).map_err(&fail)?;
        if proto.output.is_empty() || proto.output.len() > types.len() {
            return Err(fail(format!(
                "has {} outputs, {} are expected",
                proto.output.len(),
                types.len()
            )));
        }
        if proto.output.iter().all(String::is_empty) {
            return Err(ModelError::Graph("has a value without a name".to_owned()));
        }
        let constants = constants.into_iter().chain(std::iter::repeat(None));
        for ((name, value_type), constant) in proto.output.iter().zip(types).zip(constants) {
            self.check_size(&value_type.shape).map_err(&fail)?;
            // `check_size` has seen that the product does not overflow.
            self.activation_elements += elements_per_example(&value_type.shape).unwrap_or(0);
            if self.activation_elements > self.limits.activation_elements_max {
                return Err(fail(format!(
                    "brings the intermediate values of one example to more than {} numbers; use a smaller model",
                    self.limits.activation_elements_max
                )));
            }
            node.outputs.push(match name.as_str() {
                "" => None,
                name => Some(self.define(Value {
                    name: name.to_owned(),
                    value_type,
                    constant,
                })?),
            });
        }
        Ok(node)
    }

    fn infer(&self, node: &Node) -> Result<(Vec<ValueType>, Vec<Option<Tensor>>), String> {
        let site = crate::graph::Site::new(self.opset, &self.values, node, None);
        let types = node.operator.infer(&site)?;
        let mut constants = node.operator.constants(&site, self.limits)?;
        if node.proto.op_type() != "Constant" {
            // Otherwise a small file could have one large tensor many times.
            let few = |tensor: &Tensor| tensor.count() <= ops::KNOWN_MAX as u64;
            constants
                .iter_mut()
                .for_each(|own| *own = own.take().filter(few));
        }
        Ok((types, constants))
    }
}

/// How messages name a node.
pub(crate) fn label(index: usize, proto: &NodeProto) -> String {
    match proto.name() {
        "" => format!("#{index}"),
        name => name.to_owned(),
    }
}
