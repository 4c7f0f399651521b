//! What a runtime has beside ONNX's own operators.

use crate::attributes::{int, ints};
use crate::builder::GraphBuilder;
use crate::forward::ForwardModel;
use crate::shape::{Dim, ValueType};

/// Operators of a runtime's own that graphs may use in place of ordinary ones. Without any, a graph runs
/// wherever the user's model does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernels {
    /// Channels in a block of ONNX Runtime's layout for convolutions, domain `com.microsoft.nchwc`: it follows
    /// from the processor, and a graph written for another number gives wrong results.
    pub channel_block: Option<u32>,
}

impl Kernels {
    /// What `channel_block` may be, the likeliest first.
    pub const CHANNEL_BLOCKS: [u32; 2] = [8, 16];

    /// A model whose gradients tell whether a runtime has the kernels for which its graph is written: one
    /// depthwise convolution `[N, 16, 5, 4]` → `[N, 16, 5, 4]`, no two of its weights alike. For the mean
    /// squared error.
    pub fn trial_model() -> Vec<u8> {
        let channels = Self::CHANNEL_BLOCKS[1];
        let mut graph = GraphBuilder::new(["x".to_owned(), "y".to_owned()]);
        let weights = (0..channels * 9).map(|index| (f64::from(index) * 0.7).sin() as f32);
        let dims = [u64::from(channels), 1, 3, 3];
        let weights = graph.tensor(&dims, &weights.collect::<Vec<_>>());
        let attributes = [ints("pads", &[1; 4]), int("group", i64::from(channels))];
        graph.node_into("Conv", &["x", &weights], &attributes, "y".to_owned());
        let sizes = [u64::from(channels), 5, 4].map(Dim::Fixed);
        let value = ValueType::f32([Dim::Batch(1)].into_iter().chain(sizes).collect());
        let [input, output] = ["x", "y"].map(|name| (name.to_owned(), value.clone()));
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
