//! Bounds on what a foreign model may ask for.

/// What a model may be at most. The defaults fit an edge device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file.
    pub model_bytes_max: usize,
    /// Number of nodes.
    pub nodes_max: usize,
    /// Inputs and outputs of all nodes together.
    pub links_max: usize,
    /// Nodes of a graph that is written for training or evaluation.
    pub written_nodes_max: usize,
    /// Number of initialisers.
    pub initializers_max: usize,
    /// Elements of any one tensor; of intermediate values, per example.
    pub tensor_elements_max: u64,
    /// Elements of all intermediate values together, per example.
    pub activation_elements_max: u64,
    /// Rank of any tensor.
    pub rank_max: usize,
    /// Length of any name.
    pub name_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            model_bytes_max: 256 << 20,
            nodes_max: 10_000,
            links_max: 50_000,
            written_nodes_max: 100_000,
            initializers_max: 10_000,
            tensor_elements_max: 64 << 20,
            activation_elements_max: 16 << 20,
            rank_max: 8,
            name_bytes_max: 1024,
        }
    }
}
