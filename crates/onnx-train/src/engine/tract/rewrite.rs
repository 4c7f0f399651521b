//! Operators in other words, where tract loses numbers that ONNX Runtime keeps.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::differences::attribute;

/// First operator set in which ReduceMax has its axes as an input.
const AXES_AS_INPUT: i64 = 18;

/// Rewrites the nodes that need it.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64) {
    let nodes = std::mem::take(&mut graph.node);
    let mut words = Words {
        opset,
        nodes: Vec::with_capacity(nodes.len()),
        constants: Vec::new(),
    };
    for node in nodes {
        words.add(node);
    }
    graph.node = words.nodes;
    graph.initializer.extend(words.constants);
}

struct Words {
    opset: i64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Words {
    fn add(&mut self, mut node: NodeProto) {
        let (Some(x), Some(y)) = (node.input.first().cloned(), node.output.first().cloned()) else {
            self.nodes.push(node);
            return;
        };
        match node.op_type.as_str() {
            "Mod" if attribute(&node, "fmod").is_none_or(|own| own.i == 0) => {
                self.remainder(&node, &x, &y);
            }
            "LogSoftmax" => {
                let axis = attribute(&node, "axis").map_or(-1, |own| own.i);
                self.log_softmax(axis, &x, &y);
            }
            "ReduceLogSumExp" => self.log_sum_exp(&node, &x, &y),
            "Softplus" => self.softplus(&x, &y),
            "ConstantOfShape" if node.attribute.is_empty() => {
                // ONNX's zeros are float32 where nothing is said, tract's float64.
                node.attribute.push(zero());
                self.nodes.push(node);
            }
            _ => self.nodes.push(node),
        }
    }

    /// `(a mod b + b) mod b`: the sign of the divisor, which tract does not always give.
    fn remainder(&mut self, node: &NodeProto, a: &str, y: &str) {
        let Some(b) = node.input.get(1) else {
            return self.nodes.push(node.clone());
        };
        let part = self.step("Mod", &[a, b], y);
        let sum = self.step("Add", &[&part, b], y);
        self.into("Mod", &[&sum, b], y);
    }

    /// Finite where a probability rounds to 0, of which tract takes the logarithm.
    fn log_softmax(&mut self, axis: i64, x: &str, y: &str) {
        let axes = self.integers(&[axis], y);
        let largest = self.largest(&[axis], &axes, true, x, y);
        let below = self.step("Sub", &[x, &largest], y);
        let exp = self.step("Exp", &[&below], y);
        let sum = self.step("ReduceSum", &[&exp, &axes], y);
        let log = self.step("Log", &[&sum], y);
        self.into("Sub", &[&below, &log], y);
    }

    /// `m + log Σ exp(x − m)` for the largest number `m`, where tract has `log Σ exp x`.
    fn log_sum_exp(&mut self, node: &NodeProto, x: &str, y: &str) {
        let given = attribute(node, "axes").map(|own| own.ints.clone());
        let keeps = attribute(node, "keepdims").is_none_or(|own| own.i != 0);
        let axes = match (&given, node.input.get(1)) {
            (_, Some(input)) if !input.is_empty() => input.clone(),
            (Some(given), _) => self.integers(given, y),
            // Of all axes: nothing to rewrite by.
            _ => return self.nodes.push(node.clone()),
        };
        let given = given.unwrap_or_default();
        let beside = self.largest(&given, &axes, true, x, y);
        let below = self.step("Sub", &[x, &beside], y);
        let exp = self.step("Exp", &[&below], y);
        let sum = self.step("ReduceSum", &[&exp, &axes], y);
        self.last()
            .attribute
            .push(int("keepdims", i64::from(keeps)));
        let log = self.step("Log", &[&sum], y);
        let largest = match keeps {
            true => beside,
            false => self.largest(&given, &axes, false, x, y),
        };
        self.into("Add", &[&largest, &log], y);
    }

    /// `max(x, 0) + log(1 + exp −|x|)`, where tract has `log(1 + exp x)`.
    fn softplus(&mut self, x: &str, y: &str) {
        let size = self.step("Abs", &[x], y);
        let less = self.step("Neg", &[&size], y);
        let exp = self.step("Exp", &[&less], y);
        let one = self.one(y);
        let sum = self.step("Add", &[&exp, &one], y);
        let log = self.step("Log", &[&sum], y);
        let positive = self.step("Relu", &[x], y);
        self.into("Add", &[&positive, &log], y);
    }

    /// The largest numbers along the axes, which are given as numbers and as a value.
    fn largest(&mut self, given: &[i64], axes: &str, keeps: bool, x: &str, y: &str) -> String {
        let made = match self.opset >= AXES_AS_INPUT {
            true => self.step("ReduceMax", &[x, axes], y),
            false => {
                let made = self.step("ReduceMax", &[x], y);
                self.last().attribute.push(ints("axes", given));
                made
            }
        };
        self.last()
            .attribute
            .push(int("keepdims", i64::from(keeps)));
        made
    }

    /// A node on the way to an output, whose value has a name of its own.
    fn step(&mut self, operator: &str, inputs: &[&str], towards: &str) -> String {
        let to = format!("{towards}#{}", self.nodes.len());
        self.into(operator, inputs, &to);
        to
    }

    fn into(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.nodes.push(NodeProto {
            name: output.to_owned(),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }

    /// The node that was added last.
    fn last(&mut self) -> &mut NodeProto {
        let at = self.nodes.len() - 1;
        &mut self.nodes[at]
    }

    fn integers(&mut self, values: &[i64], towards: &str) -> String {
        let name = format!("{towards}#axes");
        self.constants.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    fn one(&mut self, towards: &str) -> String {
        let name = format!("{towards}#one");
        self.constants.push(TensorProto {
            name: name.clone(),
            ..float(vec![], 1.0)
        });
        name
    }
}

fn float(dims: Vec<i64>, value: f32) -> TensorProto {
    TensorProto {
        dims,
        data_type: DataType::Float as i32,
        float_data: vec![value],
        ..TensorProto::default()
    }
}

fn zero() -> AttributeProto {
    AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(float(vec![1], 0.0)),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}
