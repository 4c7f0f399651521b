//! What training a model costs a device, estimated from its shapes.

use std::collections::BTreeMap;

use crate::forward::{ForwardModel, Role};
use crate::graph::Site;
use crate::shape::elements_per_example;

/// A step computes about three times what a forward pass does: the gradients of both factors of every
/// product cost as much as the product itself (Griewank and Walther 2008, section 3.3).
const STEP_PER_FORWARD: u64 = 3;

/// What the nodes of one operator cost, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCost {
    /// The operator.
    pub operator: &'static str,
    /// Its nodes in the model.
    pub nodes: u64,
    /// Additions and multiplications of a forward pass, for one example.
    pub flops: u64,
}

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Numbers that the optimiser moves.
    pub weights: u64,
    /// Running statistics beside them.
    pub statistics: u64,
    /// Intermediate values of a forward pass, for one example.
    pub activations: u64,
    /// By operator, the costliest first.
    pub operators: Vec<OperatorCost>,
}

impl Cost {
    /// Additions and multiplications of a forward pass, for one example.
    pub fn forward_flops(&self) -> u64 {
        self.operators.iter().map(|own| own.flops).sum()
    }

    /// Those of a training step, for one example of its batch; an estimate.
    pub fn step_flops(&self) -> u64 {
        self.forward_flops().saturating_mul(STEP_PER_FORWARD)
    }

    /// Bytes of a training step that do not depend on the batch: the weights before and after it and their
    /// gradients; optimisers add what they remember.
    pub fn step_bytes(&self) -> u64 {
        (self.weights * 3 + self.statistics * 2) * FLOAT_BYTES
    }

    /// Bytes for every example of the batch, at most: the intermediate values and their gradients.
    pub fn example_bytes(&self) -> u64 {
        self.activations * 2 * FLOAT_BYTES
    }
}

const FLOAT_BYTES: u64 = 4;

impl ForwardModel {
    /// What training costs.
    pub fn cost(&self) -> Cost {
        let graph = &self.graph;
        let mut operators: BTreeMap<&'static str, OperatorCost> = BTreeMap::new();
        let mut activations = 0u64;
        for node in &graph.nodes {
            let site = Site::new(graph.opset, &graph.values, node, None);
            let operator = node.operator.name();
            let own = operators.entry(operator).or_insert(OperatorCost {
                operator,
                nodes: 0,
                flops: 0,
            });
            own.nodes += 1;
            own.flops = own.flops.saturating_add(node.operator.flops(&site));
            for id in node.outputs.iter().flatten() {
                let value = &graph.values[*id];
                if value.value_type.element.is_float() {
                    let elements = elements_per_example(value.shape()).unwrap_or(u64::MAX);
                    activations = activations.saturating_add(elements);
                }
            }
        }
        let mut operators: Vec<OperatorCost> = operators.into_values().collect();
        operators.sort_by_key(|own| std::cmp::Reverse(own.flops));
        let of = |role: Role| {
            let own = self.parameters.iter().filter(move |own| own.role == role);
            own.map(|own| own.initial.len() as u64).sum()
        };
        Cost {
            weights: of(Role::Weight),
            statistics: of(Role::Statistic),
            activations,
            operators,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn a_models_cost_follows_from_its_shapes() {
        // 14 inputs, 16 hidden units, one logit.
        let model = include_bytes!("../../../config/models/air-mlp.onnx");
        let cost = ForwardModel::parse(model, &Limits::default())
            .unwrap()
            .cost();
        assert_eq!((cost.weights, cost.statistics), (257, 0));
        let gemm = OperatorCost {
            operator: "Gemm",
            nodes: 2,
            flops: 2 * (14 * 16 + 16),
        };
        let relu = OperatorCost {
            operator: "Relu",
            nodes: 1,
            flops: 16,
        };
        assert_eq!(cost.operators, [gemm, relu]);
        assert_eq!((cost.forward_flops(), cost.step_flops()), (496, 3 * 496));
        assert_eq!(cost.activations, 16 + 16 + 1);
        assert_eq!(
            (cost.step_bytes(), cost.example_bytes()),
            (257 * 12, 33 * 8)
        );
    }
    #[test]
    fn products_cost_what_they_multiply() {
        let check = |place: &str, operator: &str, flops: u64| {
            let path = format!("{}/vectors/{place}.onnx", env!("CARGO_MANIFEST_DIR"));
            let model = std::fs::read(path).unwrap();
            let cost = ForwardModel::parse(&model, &Limits::default())
                .unwrap()
                .cost();
            let own = cost.operators.iter().find(|own| own.operator == operator);
            assert_eq!(own.unwrap().flops, flops, "{place}");
        };
        // Two for each output element and number of its window, or of the inner dimension.
        check("dense/matmul_stack", "MatMul", 2 * (2 * 4) * 3);
        check(
            "convolution/conv_grouped",
            "Conv",
            2 * (6 * 4 * 4) * (2 * 3 * 3),
        );
        check(
            "convolution/conv_depthwise",
            "Conv",
            2 * (2 * 5 * 4) * (3 * 3),
        );
        check(
            "convolution/transpose_plain",
            "ConvTranspose",
            2 * (2 * 3 * 4) * (3 * 2 * 3),
        );
        // Steps, directions, gates of two numbers, and what each is made of.
        check("recurrent/gru", "GRU", 2 * 3 * (3 * 2) * (2 + 2));
        check("recurrent/lstm_all", "LSTM", 2 * 3 * 2 * (4 * 2) * (2 + 2));
        check("recurrent/rnn", "RNN", 2 * 3 * 2 * (2 + 2));
        // Labels t, h, d and e of two operands.
        check("einsum/einsum_heads", "Einsum", 2 * (2 * 2 * 3 * 2));
    }
}
