//! What a runtime has beside ONNX's own operators, or lacks of them.

use crate::attributes::{int, ints};
use crate::builder::GraphBuilder;
use crate::forward::ForwardModel;
use crate::shape::{Dim, ValueType};

/// Which operators graphs may use: beside ONNX's own some of a runtime's, or of ONNX's only the simpler ones.
/// By default all of ONNX's and nothing else, so that a graph runs wherever the user's model does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernels {
    /// Channels in a block of ONNX Runtime's layout for convolutions, domain `com.microsoft.nchwc`: it follows
    /// from the processor, and a graph written for another number gives wrong results.
    pub channel_block: Option<u32>,
    /// Batch normalisation is written as sums and products, loops turn by turn, and padding that takes away as
    /// a Slice: for tract, which has no such operators or has them by constants alone.
    pub simple: bool,
}

impl Kernels {
    /// What `channel_block` may be, the likeliest first.
    pub const CHANNEL_BLOCKS: [u32; 2] = [8, 16];

    /// A model whose gradients tell whether a runtime has the kernels for which its graph is written: three
    /// convolutions, `[N, 3, 11, 9]` → `[N, 16, 6, 5]`, with every layout of weights and every gradient that
    /// there is over blocks, and no two weights alike. For the mean squared error.
    pub fn trial_model() -> Vec<u8> {
        let channels = u64::from(Self::CHANNEL_BLOCKS[1]);
        let mut graph = GraphBuilder::new(["x", "h", "g", "y"].map(str::to_owned));
        let mut drawn = 0..;
        let mut weights = |dims: &[u64], graph: &mut GraphBuilder| {
            let count: u64 = dims.iter().product();
            let numbers = drawn.by_ref().take(count as usize);
            let numbers = numbers.map(|index: u32| (f64::from(index) * 0.7).sin() as f32);
            let numbers: Vec<f32> = numbers.collect();
            graph.tensor(dims, &numbers)
        };
        let few = weights(&[channels, 3, 3, 3], &mut graph);
        let bias = weights(&[channels], &mut graph);
        let attributes = [ints("pads", &[1; 4]), ints("strides", &[2; 2])];
        graph.node_into("Conv", &["x", &few, &bias], &attributes, "h".to_owned());
        let many = weights(&[channels, channels, 3, 3], &mut graph);
        graph.node_into(
            "Conv",
            &["h", &many],
            &[ints("pads", &[1; 4])],
            "g".to_owned(),
        );
        let own = weights(&[channels, 1, 3, 3], &mut graph);
        let attributes = [
            ints("pads", &[1, 2, 1, 2]),
            ints("dilations", &[1, 2]),
            int("group", channels as i64),
        ];
        graph.node_into("Conv", &["g", &own], &attributes, "y".to_owned());
        let value = |name: &str, sizes: [u64; 3]| {
            let shape = [Dim::Batch(1)].into_iter().chain(sizes.map(Dim::Fixed));
            (name.to_owned(), ValueType::f32(shape.collect()))
        };
        let (input, output) = (value("x", [3, 11, 9]), value("y", [channels, 6, 5]));
        graph.finish("trial", 17, &[input], &[output])
    }
}

impl ForwardModel {
    /// Whether [`Kernels`] could do any of its work.
    pub fn could_use_kernels(&self) -> bool {
        let mut nodes = self.graph.nodes.iter();
        nodes.any(|node| node.operator.name() == "Conv")
    }

    /// The same model for a runtime that has these operators beside ONNX's own: graphs for training and
    /// evaluation use them. What is exported never does.
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }
}

#[cfg(test)]
mod tests {
    use fl_model::Loss;
    use prost::Message as _;

    use super::*;
    use crate::attributes::{find, int_or};
    use crate::proto::{ModelProto, NodeProto};
    use crate::{Differentiated, GradientGraph, Limits};

    #[test]
    fn the_trial_model_has_all_that_is_written_over_blocks() {
        for block in Kernels::CHANNEL_BLOCKS {
            let kernels = Kernels {
                channel_block: Some(block),
                ..Kernels::default()
            };
            let model = ForwardModel::parse(&Kernels::trial_model(), &Limits::default()).unwrap();
            let model = model.with_kernels(kernels);
            let graph =
                GradientGraph::new(Differentiated::new(&model, Loss::MeanSquaredError).unwrap());
            let graph = ModelProto::decode(&graph.bytes[..]).unwrap().graph.unwrap();
            let in_blocks =
                |node: &&NodeProto| node.op_type() == "Conv" && !node.domain().is_empty();
            let ints = |node: &NodeProto, name: &str| find(node, name).unwrap().ints.clone();
            let of = |node: &NodeProto| {
                let sliding = ["strides", "dilations"].map(|name| ints(node, name));
                (node.input.len(), sliding, int_or(node, "group", 1))
            };
            let found: Vec<_> = graph.node.iter().filter(in_blocks).map(of).collect();
            let plain = || vec![1, 1];
            let expected = [
                (3, [vec![2, 2], plain()], 1),
                (2, [plain(), plain()], 1),
                (2, [plain(), vec![1, 2]], 16),
                // Gradients: of the last one's input and weights, then of the second one's input.
                (2, [plain(), vec![1, 2]], 16),
                (2, [vec![1, 2], plain()], 16),
                (2, [plain(), plain()], 1),
            ];
            assert_eq!(found, expected);
            let first = graph.node.iter().find(in_blocks).unwrap();
            assert_eq!(
                first.input[0], "x",
                "fewer channels than a block are read as they are"
            );
        }
    }
}
