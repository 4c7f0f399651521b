//! Writing graphs: fresh names, shared constants, and the finished model.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::attributes::{int, ints};
use crate::error::ModelError;
use crate::graph::Value;
use crate::kernels::Kernels;
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::shape::{Dim, Element, Shape, ValueType, as_reshape};
use crate::tensor::{encode_f32, encode_i64};

/// Lowest IR version that every runtime able to run our graphs reads, and that opset 13 needs.
const IR_VERSION: i64 = 8;
/// Name of the symbolic batch dimension.
const BATCH: &str = "batch";

/// A graph input for random numbers that are new in every step.
pub(crate) struct Noise {
    pub(crate) input: String,
    pub(crate) shape: Shape,
    /// Probability of a 1; otherwise it is 0.
    pub(crate) keep: f32,
}

/// A graph being written.
pub(crate) struct GraphBuilder {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: Vec<TensorProto>,
    /// Next values of running statistics, by the statistic's name.
    pub(crate) statistics: BTreeMap<String, String>,
    /// Random numbers that a step needs.
    pub(crate) noise: Vec<Noise>,
    /// What the graph may use beside ONNX's own operators.
    pub(crate) kernels: Kernels,
    /// How many numbers a batch has for a channel, as floats of rank 0, by how many an example has.
    pub(crate) counts: BTreeMap<u64, String>,
    /// Sums over the examples of a batch.
    pub(crate) row_sums: BTreeSet<String>,
    saved: BTreeMap<(String, &'static str), String>,
    used: BTreeSet<String>,
    scalars: BTreeMap<u32, String>,
    integers: BTreeMap<Vec<i64>, String>,
    next: u32,
    nodes_max: usize,
    /// Nodes that were left out because there are too many.
    left_out: usize,
}

impl GraphBuilder {
    /// A builder that will not make any of the names already taken.
    pub(crate) fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self {
            nodes: Vec::new(),
            initializers: Vec::new(),
            statistics: BTreeMap::new(),
            noise: Vec::new(),
            kernels: Kernels::default(),
            counts: BTreeMap::new(),
            row_sums: BTreeSet::new(),
            saved: BTreeMap::new(),
            used: taken.into_iter().collect(),
            scalars: BTreeMap::new(),
            integers: BTreeMap::new(),
            next: 0,
            nodes_max: usize::MAX,
            left_out: 0,
        }
    }

    /// Bounds the nodes; those beyond are left out, and [`Self::check`] tells of them.
    pub(crate) fn with_nodes_max(mut self, nodes_max: usize) -> Self {
        self.nodes_max = nodes_max;
        self
    }

    /// Whether all nodes are there.
    ///
    /// # Errors
    /// There were too many.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        match self.left_out {
            0 => Ok(()),
            left_out => Err(ModelError::Graph(format!(
                "takes {} nodes to train, more than {}; use a smaller model, or smaller windows",
                self.nodes.len() + left_out,
                self.nodes_max
            ))),
        }
    }

    /// A name that nothing else has, beginning with the hint.
    pub(crate) fn fresh(&mut self, hint: &str) -> String {
        let mut name = hint.to_owned();
        while !self.used.insert(name.clone()) {
            // Not behind a dot: so tract names what it makes of a node.
            name = format!("{hint}_{}", self.next);
            self.next += 1;
        }
        name
    }

    /// Keeps a value of the training forward pass for the gradient of the same node, which is told apart by
    /// its first output.
    pub(crate) fn save(&mut self, output: &str, what: &'static str, value: String) {
        self.saved.insert((output.to_owned(), what), value);
    }

    /// What [`Self::save`] has kept.
    ///
    /// # Errors
    /// Nothing was: a defect of the operator's rules.
    pub(crate) fn saved(&self, output: &str, what: &'static str) -> Result<String, String> {
        let saved = self.saved.get(&(output.to_owned(), what)).cloned();
        saved.ok_or_else(|| format!("its {what} was not saved, which is a defect of this program"))
    }

    /// Adds a node of one output and gives that output's name.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        let output = self.fresh(&format!("fl.{operator}"));
        self.node_into(operator, inputs, attributes, output.clone());
        output
    }

    /// Adds a node whose output has the given name.
    pub(crate) fn node_into(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        output: String,
    ) {
        self.node_of_outputs(operator, inputs, attributes, vec![output]);
    }

    /// Adds a node of several outputs and gives their names.
    pub(crate) fn node_outputs(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        count: usize,
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..count)
            .map(|_| self.fresh(&format!("fl.{operator}")))
            .collect();
        self.node_of_outputs(operator, inputs, attributes, outputs.clone());
        outputs
    }

    /// Adds a node whose outputs have the given names.
    pub(crate) fn node_of_outputs(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        outputs: Vec<String>,
    ) {
        self.push("", operator, inputs, attributes, outputs);
    }

    /// Adds a node of an operator that is not ONNX's own.
    pub(crate) fn foreign_node(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        output: String,
    ) {
        self.push(domain, operator, inputs, attributes, vec![output]);
    }

    fn push(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        outputs: Vec<String>,
    ) {
        if self.nodes.len() >= self.nodes_max {
            self.left_out += 1;
            return;
        }
        self.nodes.push(NodeProto {
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            name: outputs.first().cloned(),
            op_type: Some(operator.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs,
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
    }

    /// A float constant of rank 0.
    pub(crate) fn scalar(&mut self, value: f32) -> String {
        if let Some(name) = self.scalars.get(&value.to_bits()) {
            return name.clone();
        }
        let name = self.tensor(&[], &[value]);
        self.scalars.insert(value.to_bits(), name.clone());
        name
    }

    /// A float constant.
    pub(crate) fn tensor(&mut self, dims: &[u64], values: &[f32]) -> String {
        let name = self.fresh("fl.const");
        self.initializers.push(encode_f32(&name, dims, values));
        name
    }

    /// An integer constant of rank 1.
    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        if let Some(name) = self.integers.get(values) {
            return name.clone();
        }
        let name = self.fresh("fl.ints");
        self.initializers.push(encode_i64(&name, values));
        self.integers.insert(values.to_vec(), name.clone());
        name
    }

    /// Sum over axes, which are dropped.
    pub(crate) fn reduce_sum(&mut self, value: &str, axes: &[i64], keep: bool) -> String {
        let axes = self.integers(axes);
        self.node(
            "ReduceSum",
            &[value, &axes],
            &[int("keepdims", i64::from(keep))],
        )
    }

    /// The same elements in another shape.
    pub(crate) fn reshape(&mut self, value: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.node("Reshape", &[value, &shape], &[])
    }

    /// Axes in another order.
    pub(crate) fn transpose(&mut self, value: &str, order: &[i64]) -> String {
        self.node("Transpose", &[value], &[ints("perm", order)])
    }

    /// The parts of a value of these sizes along an axis.
    pub(crate) fn split(&mut self, value: &str, axis: i64, sizes: &[i64]) -> Vec<String> {
        let count = sizes.len();
        let sizes = self.integers(sizes);
        self.node_outputs("Split", &[value, &sizes], &[int("axis", axis)], count)
    }

    /// Number of elements, as a float of rank 0.
    pub(crate) fn size(&mut self, value: &str) -> String {
        let size = self.node("Size", &[value], &[]);
        self.cast(&size, Element::F32)
    }

    /// The elements in another type.
    pub(crate) fn cast(&mut self, value: &str, to: Element) -> String {
        self.node("Cast", &[value], &[int("to", i64::from(to.to_proto()))])
    }

    /// The parts behind each other along an axis.
    pub(crate) fn concat<S: AsRef<str>>(&mut self, parts: &[S], axis: i64) -> String {
        match parts {
            [part] => part.as_ref().to_owned(),
            parts => {
                let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
                self.node("Concat", &parts, &[int("axis", axis)])
            }
        }
    }

    /// Undoes broadcasting in a gradient: sums over every axis along which `to` was repeated.
    pub(crate) fn unbroadcast(&mut self, gradient: &str, from: &Shape, to: &Shape) -> String {
        let added = from.len().saturating_sub(to.len());
        let axes: Vec<i64> = (0..from.len())
            .filter(|&axis| {
                axis < added || (to[axis - added] == Dim::Fixed(1) && from[axis] != Dim::Fixed(1))
            })
            .map(|axis| axis as i64)
            .collect();
        if axes.is_empty() {
            return gradient.to_owned();
        }
        if let ([0], [Dim::Batch(1), _], [_]) = (&axes[..], &from[..], &to[..]) {
            return self.sum_of_rows(gradient);
        }
        let sum = self.reduce_sum(gradient, &axes, false);
        if axes.len() == added {
            return sum;
        }
        self.reshape(&sum, &as_reshape(to))
    }

    /// Zeros around a value, so many before and after along each axis; less than 0 takes away.
    pub(crate) fn pad(&mut self, value: &str, before: &[i64], after: &[i64]) -> String {
        if self.kernels.simple && before.iter().chain(after).any(|size| *size < 0) {
            return self.crop_and_pad(value, before, after);
        }
        let pads = [before, after].concat();
        if pads.iter().all(|size| *size == 0) {
            return value.to_owned();
        }
        let pads = self.integers(&pads);
        self.node("Pad", &[value, &pads], &[])
    }

    /// The same in two nodes: one takes away, the other adds.
    fn crop_and_pad(&mut self, value: &str, before: &[i64], after: &[i64]) -> String {
        let axes: Vec<i64> = (0..before.len() as i64).collect();
        let starts: Vec<i64> = before.iter().map(|size| (-size).max(0)).collect();
        let ends = after.iter();
        let ends: Vec<i64> = ends
            .map(|size| if *size < 0 { *size } else { i64::MAX })
            .collect();
        let cropped = self.slice(value, &axes, &starts, &ends);
        let [before, after] = [before, after].map(|sizes| {
            let more = sizes.iter().map(|size| *size.max(&0));
            more.collect::<Vec<_>>()
        });
        self.pad(&cropped, &before, &after)
    }

    /// The part of a value from `start` to before `end` along each of the axes.
    pub(crate) fn slice(
        &mut self,
        value: &str,
        axes: &[i64],
        starts: &[i64],
        ends: &[i64],
    ) -> String {
        let [starts, ends, axes] = [starts, ends, axes].map(|values| self.integers(values));
        self.node("Slice", &[value, &starts, &ends, &axes], &[])
    }

    /// The elements along an axis in reverse order.
    pub(crate) fn reversed(&mut self, value: &str, axis: i64) -> String {
        let last = self.integers(&[-1]);
        let [before_first, axes] = [i64::MIN, axis].map(|number| self.integers(&[number]));
        let inputs = [value, &last, &before_first, &axes, &last];
        self.node("Slice", &inputs, &[])
    }

    /// Zeros in the shape of a value of the model.
    pub(crate) fn zeros_like(&mut self, value: &Value) -> String {
        let sizes: Option<Vec<u64>> = value.shape().iter().map(|dim| dim.fixed()).collect();
        let shape = match sizes {
            Some(sizes) => {
                self.integers(&sizes.iter().map(|size| *size as i64).collect::<Vec<_>>())
            }
            None => self.node("Shape", &[&value.name], &[]),
        };
        self.node("ConstantOfShape", &[&shape], &[])
    }

    /// Drops nodes and initialisers that no output needs, such as those that computed a shape which
    /// is written as a constant.
    fn prune(&mut self, outputs: &[(String, ValueType)]) {
        let mut needed: BTreeSet<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
        for at in (0..self.nodes.len()).rev() {
            if self.nodes[at]
                .output
                .iter()
                .any(|name| needed.contains(name))
            {
                read_into(&self.nodes[at], &mut needed);
            }
        }
        self.nodes
            .retain(|node| node.output.iter().any(|name| needed.contains(name)));
        self.initializers
            .retain(|tensor| needed.contains(tensor.name()));
    }

    /// The finished model.
    pub(crate) fn finish(
        mut self,
        name: &str,
        opset: i64,
        inputs: &[(String, ValueType)],
        outputs: &[(String, ValueType)],
    ) -> Vec<u8> {
        self.prune(outputs);
        let domains: BTreeSet<&str> = self.nodes.iter().map(NodeProto::domain).collect();
        let import = |domain: &str| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(if domain.is_empty() { opset } else { 1 }),
        };
        let opset_import = domains
            .union(&BTreeSet::from([""]))
            .map(|domain| import(domain))
            .collect();
        let graph = GraphProto {
            name: Some(name.to_owned()),
            node: self.nodes,
            initializer: self.initializers,
            input: inputs
                .iter()
                .map(|(name, ty)| value_info(name, ty))
                .collect(),
            output: outputs
                .iter()
                .map(|(name, ty)| value_info(name, ty))
                .collect(),
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("tributary".to_owned()),
            opset_import,
            graph: Some(graph),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }
}

/// Adds the names that a node reads, and the bodies of loops within it.
fn read_into(node: &NodeProto, names: &mut BTreeSet<String>) {
    names.extend(node.input.iter().cloned());
    let bodies = node.attribute.iter().filter_map(|own| own.g.as_ref());
    for inner in bodies.flat_map(|body| &body.node) {
        read_into(inner, names);
    }
}

/// Declares an input or output of a graph.
pub(crate) fn value_info(name: &str, value_type: &ValueType) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value as DimValue;
    let dim = value_type
        .shape
        .iter()
        .map(|dim| tensor_shape_proto::Dimension {
            value: match dim {
                Dim::Fixed(size) => Some(DimValue::DimValue(*size as i64)),
                Dim::Batch(1) => Some(DimValue::DimParam(BATCH.to_owned())),
                Dim::Batch(_) => None,
            },
            ..tensor_shape_proto::Dimension::default()
        })
        .collect();
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(value_type.element.to_proto()),
                shape: Some(TensorShapeProto { dim }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
