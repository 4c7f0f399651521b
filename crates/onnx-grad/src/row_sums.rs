//! Sums over the examples of a batch, as products with a row of ones, for which ONNX Runtime takes half the time.

use crate::builder::GraphBuilder;

/// Fewer sums than this are not worth the nodes that make the ones.
const SUMS_MIN: usize = 8;

impl GraphBuilder {
    /// Sum over the first axis of a value `[N, columns]` for N examples.
    pub(crate) fn sum_of_rows(&mut self, value: &str) -> String {
        let sum = self.reduce_sum(value, &[0], false);
        self.row_sums.insert(sum.clone());
        sum
    }

    /// Makes products of these sums, where there are many. The input has the examples along its first axis.
    pub(crate) fn multiply_row_sums(&mut self, input: &str) {
        if self.row_sums.len() < SUMS_MIN {
            return;
        }
        let count = self.nodes.len();
        let shape = self.node("Shape", &[input], &[]);
        let rows = self.slice(&shape, &[0], &[0], &[1]);
        let one = self.scalar(1.0);
        let ones = self.node("Expand", &[&one, &rows], &[]);
        let made = self.nodes.split_off(count);
        self.nodes.splice(0..0, made);
        for node in &mut self.nodes {
            if node.output.iter().any(|sum| self.row_sums.contains(sum)) {
                node.op_type = Some("MatMul".to_owned());
                node.input = vec![ones.clone(), node.input[0].clone()];
                node.attribute.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sums_are_products_with_ones_that_stand_before_them() {
        let check = |count: usize, expected: &str| {
            let mut graph = GraphBuilder::new(["x".to_owned()]);
            let sums: Vec<String> = (0..count).map(|_| graph.sum_of_rows("x")).collect();
            graph.multiply_row_sums("x");
            let mut made = vec!["x"];
            made.extend(graph.initializers.iter().map(|own| own.name()));
            for node in &graph.nodes {
                assert!(node.input.iter().all(|name| made.contains(&name.as_str())));
                made.extend(node.output.iter().map(String::as_str));
            }
            let of_sums = graph
                .nodes
                .iter()
                .filter(|node| sums.contains(&node.output[0]));
            let operators: Vec<&str> = of_sums.map(|node| node.op_type()).collect();
            assert_eq!(operators, vec![expected; count]);
        };
        check(SUMS_MIN - 1, "ReduceSum");
        check(SUMS_MIN, "MatMul");
    }
}
