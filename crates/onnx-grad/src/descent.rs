//! Plain descent, `w ← w − learning_rate·g`, without a pass over the weights for either operation.

use std::collections::{BTreeMap, BTreeSet};

use crate::attributes::float;
use crate::builder::GraphBuilder;
use crate::differentiate::Move;
use crate::proto::NodeProto;

/// Writes the steps of parameters along their gradients. Every gradient is linear in that of the logits, so
/// the learning rate goes in there, where there are most often fewer numbers than weights.
pub(crate) fn write(
    seed: &str,
    rate: &str,
    moves: &[(&str, &Move)],
    graph: &mut GraphBuilder,
) -> Vec<String> {
    graph.scale(seed, rate);
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, own) in moves {
        if let Move::Gradient(gradient) = own {
            *served.entry(gradient).or_default() += 1;
        }
    }
    served.retain(|_, parameters| *parameters == 1);
    let products = graph.products(&served.into_keys().collect());
    let step = |(weight, own): &(&str, &Move)| match own {
        Move::To(value) => value.clone(),
        Move::Gradient(gradient) => match products.get(gradient) {
            Some(at) => {
                graph.subtract_in_product(*at, weight);
                gradient.clone()
            }
            None => graph.node("Sub", &[weight, gradient], &[]),
        },
    };
    moves.iter().map(step).collect()
}

impl GraphBuilder {
    /// Multiplies a value that a node makes, in front of all that reads it.
    fn scale(&mut self, value: &str, factor: &str) {
        let makes = |node: &NodeProto| node.output.iter().any(|output| output == value);
        let Some(at) = self.nodes.iter().position(makes) else {
            return;
        };
        let before = self.fresh("fl.unscaled");
        let node = &mut self.nodes[at];
        for name in node.output.iter_mut().chain(&mut node.name) {
            if name == value {
                before.clone_into(name);
            }
        }
        let count = self.nodes.len();
        self.node_into("Mul", &[&before, factor], &[], value.to_owned());
        // Where it is read already, it must stand; a full graph has not taken it and is refused later.
        if self.nodes.len() > count {
            self.nodes[at + 1..].rotate_right(1);
        }
    }

    /// Of these values those that are plain products and that no node reads, and the nodes that make them.
    fn products(&self, values: &BTreeSet<&str>) -> BTreeMap<String, usize> {
        let read = self.nodes.iter().flat_map(|node| &node.input);
        let read: BTreeSet<&str> = read.map(String::as_str).collect();
        let is_plain = |node: &NodeProto| {
            let scaled = node.attribute.iter().any(|own| own.name() == "alpha");
            node.op_type() == "Gemm" && node.input.len() == 2 && !scaled
        };
        let nodes = self.nodes.iter().enumerate();
        let products = nodes.filter(|(_, node)| is_plain(node));
        let made = products.filter_map(|(at, node)| Some((node.output.first()?.clone(), at)));
        made.filter(|(value, _)| values.contains(&value[..]) && !read.contains(&value[..]))
            .collect()
    }

    /// Makes `from − product` of a product.
    fn subtract_in_product(&mut self, at: usize, from: &str) {
        let node = &mut self.nodes[at];
        node.input.push(from.to_owned());
        node.attribute.push(float("alpha", -1.0));
    }
}
