//! Plain descent, `w ← w − learning_rate·g`, without a pass over the weights for either operation.

use crate::attributes::float;
use crate::builder::GraphBuilder;
use crate::differentiate::Move;

/// Writes the steps of parameters along their gradients. Every gradient is linear in that of the logits, so
/// the learning rate goes in there, where there are fewest numbers.
pub(crate) fn write(
    seed: &str,
    rate: &str,
    moves: &[(&str, &Move)],
    graph: &mut GraphBuilder,
) -> Vec<String> {
    let scaled = graph.scale(seed, rate);
    let gradients = moves.iter().map(|(_, moves)| match moves {
        Move::Gradient(gradient) => Some(gradient),
        Move::To(_) => None,
    });
    let gradients: Vec<Option<&String>> = gradients.collect();
    let mut outputs = Vec::with_capacity(moves.len());
    for (weight, moves) in moves {
        outputs.push(match moves {
            Move::To(value) => value.clone(),
            Move::Gradient(gradient) => {
                let shared = gradients.iter().filter(|own| **own == Some(gradient));
                let step = match scaled {
                    true => gradient.clone(),
                    false => graph.node("Mul", &[rate, gradient], &[]),
                };
                match scaled && shared.count() == 1 && graph.subtract_in_product(weight, &step) {
                    true => step,
                    false => graph.node("Sub", &[weight, &step], &[]),
                }
            }
        });
    }
    outputs
}

impl GraphBuilder {
    /// Multiplies a value in front of all that reads it. Returns whether it did: it must come from a node.
    fn scale(&mut self, value: &str, factor: &str) -> bool {
        let Some(at) = self.producer(value) else {
            return false;
        };
        let before = self.fresh("fl.unscaled");
        let node = &mut self.nodes[at];
        for name in node.output.iter_mut().chain(&mut node.name) {
            if name == value {
                before.clone_into(name);
            }
        }
        self.node_into("Mul", &[&before, factor], &[], value.to_owned());
        // Where it is read already, it must stand.
        self.nodes[at + 1..].rotate_right(1);
        true
    }

    /// Makes `from − value` of a value that is a product and that nothing else reads. Returns whether it did.
    fn subtract_in_product(&mut self, from: &str, value: &str) -> bool {
        let read = |inputs: &[String]| inputs.iter().any(|input| input == value);
        let free = !self.nodes.iter().any(|node| read(&node.input));
        let Some(at) = self.producer(value).filter(|_| free) else {
            return false;
        };
        let node = &mut self.nodes[at];
        let plain = node.op_type() == "Gemm"
            && node.input.len() == 2
            && node.attribute.iter().all(|own| own.name() != "alpha");
        if plain {
            node.input.push(from.to_owned());
            node.attribute.push(float("alpha", -1.0));
        }
        plain
    }

    fn producer(&self, value: &str) -> Option<usize> {
        let makes = |outputs: &[String]| outputs.iter().any(|output| output == value);
        self.nodes.iter().position(|node| makes(&node.output))
    }
}
