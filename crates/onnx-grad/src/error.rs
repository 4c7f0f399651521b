//! Why a model cannot be trained.

use crate::ops::supported_operators;

/// Why bytes are not a model that can be trained, naming the node, tensor or value at fault.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is too large.
    #[error("the model has {bytes} bytes, more than the {bytes_max} allowed; use a smaller model")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The bytes are not protobuf of the ONNX schema.
    #[error("not an ONNX model ({0}); export it again as .onnx")]
    Protobuf(#[from] prost::DecodeError),
    /// The model was exported for an operator set out of range.
    #[error(
        "the model uses opset {opset}, supported are {min} to {max}; export it with opset_version=17"
    )]
    Opset {
        /// The version that it imports.
        opset: i64,
        /// Lowest supported.
        min: i64,
        /// Highest supported.
        max: i64,
    },
    /// An operator has no gradient rule.
    #[error(
        "node `{node}` uses the operator {operator}, which cannot be trained{}; supported are {}",
        remedy(operator),
        supported_operators().join(", ")
    )]
    UnsupportedOperator {
        /// Name of the node, or its place when it has none.
        node: String,
        /// Its operator, with the domain when that is not ONNX's own.
        operator: String,
    },
    /// A node is used in a way that is not supported.
    #[error("node `{node}` ({operator}): {reason}")]
    Node {
        /// Name of the node, or its place when it has none.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An initialiser or constant cannot be read.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The graph as a whole is not of the supported kind.
    #[error("the model's graph {0}")]
    Graph(String),
    /// Loss and model do not fit.
    #[error("the loss {loss} does not fit the model: {reason}")]
    Loss {
        /// Name of the loss.
        loss: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Parameters given for export or training are not those of the model.
    #[error("parameter `{name}`: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Patterns of parameters do not fit the model.
    #[error("{0}")]
    Pattern(String),
    /// A model cannot have the adapters that are asked for.
    #[error("low-rank adaptation: {0}")]
    Lora(String),
    /// A hyper-parameter is out of range.
    #[error("{name} is {value}; it must be {range}")]
    Setting {
        /// Its name in the training settings.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it must be.
        range: &'static str,
    },
    /// The features do not fit the model or the normalisation.
    #[error("features: {0}")]
    Features(String),
}

/// What to do about an operator of another domain, where we know.
fn remedy(operator: &str) -> &'static str {
    match operator {
        "Loop" | "Scan" | "If" => " (export recurrent layers unrolled: in Keras unroll=True)",
        _ if operator.starts_with(crate::forward::scikit::DOMAIN) => {
            " by gradients (of scikit-learn's models linear ones and networks can; leave preprocessing to the \
             job's features and export the model alone)"
        }
        _ => "",
    }
}
