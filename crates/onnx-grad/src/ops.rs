//! The operators that can be trained: one file each, and one line in the table below.
//!
//! A rule is stateless: it says which shapes the operator accepts and what it makes of them, and
//! writes the nodes that carry a gradient from its first output to its inputs. What it needs from
//! the forward pass it reads by name; the runtime keeps those values alive.

mod abs;
mod add;
mod and;
mod arg_max;
mod arg_min;
mod average_pool;
mod batch_normalization;
mod cast;
mod cast_like;
mod ceil;
mod celu;
mod clip;
mod concat;
mod constant;
mod constant_of_shape;
mod conv;
mod conv_transpose;
mod cos;
mod cum_sum;
mod depth_to_space;
mod div;
mod dropout;
mod einsum;
mod elu;
mod equal;
mod erf;
mod exp;
mod expand;
mod eye_like;
mod flatten;
mod floor;
mod gather;
mod gather_elements;
mod gather_nd;
mod gelu;
mod gemm;
mod global_average_pool;
mod global_max_pool;
mod greater;
mod greater_or_equal;
mod group_normalization;
mod gru;
mod hard_sigmoid;
mod hard_swish;
mod identity;
mod instance_normalization;
mod is_inf;
mod is_nan;
mod layer_normalization;
mod leaky_relu;
mod less;
mod less_or_equal;
mod log;
mod log_softmax;
mod lstm;
mod matmul;
mod max;
mod max_pool;
mod mean;
mod min;
mod mish;
mod modulo;
mod mul;
mod neg;
mod not;
mod one_hot;
mod or;
mod pad;
mod pow;
mod prelu;
mod range;
mod reciprocal;
mod recurrent;
mod recurrent_layer;
mod recurrent_pass;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;
mod relu;
mod reshape;
mod resize;
mod resize_axis;
mod rnn;
mod round;
mod scan;
mod scatter_elements;
mod scatter_nd;
mod selu;
mod shape;
mod shared;
mod shared_arg;
mod shared_axes;
mod shared_blocked;
mod shared_blocks;
mod shared_channels;
mod shared_convolution;
mod shared_elements;
mod shared_exponential;
mod shared_extremes;
mod shared_index;
mod shared_known;
mod shared_logic;
mod shared_normalization;
mod shared_pooling;
mod shared_reduce;
mod shared_scatter;
mod shared_windows;
mod sigmoid;
mod sign;
mod sin;
mod size;
mod slice;
mod softmax;
mod softplus;
mod softsign;
mod space_to_depth;
mod split;
mod sqrt;
mod squeeze;
mod sub;
mod sum;
mod tanh;
mod thresholded_relu;
mod tile;
mod topk;
mod transpose;
mod trilu;
mod unsqueeze;
mod where_op;
mod xor;

pub(crate) use shared_axes::KNOWN_MAX;

use crate::attributes::int_or;
use crate::builder::GraphBuilder;
use crate::graph::{Graph, Node, Site, Value};
use crate::limits::Limits;
use crate::shape::{ValueType, elements_per_example, normalize_axis};
use crate::tensor::Tensor;

/// Gradients of the inputs by position; none where there is none or none is wanted.
pub(crate) type InputGradients = Vec<Option<String>>;

/// The rules of one ONNX operator.
pub(crate) trait Operator: Sync {
    /// Its `op_type`.
    fn name(&self) -> &'static str;

    /// First operator set that has it, where that is later than the lowest one supported.
    fn since(&self) -> i64 {
        0
    }

    /// Types of the outputs, or why the node cannot be trained.
    fn infer(&self, site: &Site<'_>) -> Result<Vec<ValueType>, String>;

    /// The numbers that its first output is, where they are known without running.
    fn constant(&self, _site: &Site<'_>, _limits: &Limits) -> Result<Option<Tensor>, String> {
        Ok(None)
    }

    /// The same for each of the outputs, of which the last may be left out.
    fn constants(&self, site: &Site<'_>, limits: &Limits) -> Result<Vec<Option<Tensor>>, String> {
        Ok(vec![self.constant(site, limits)?])
    }

    /// Additions and multiplications of a forward pass for one example: one for every element of the
    /// output, where an operator does not know better.
    fn flops(&self, site: &Site<'_>) -> u64 {
        let output = site.optional_output(0).map(Value::shape);
        output.map_or(0, |shape| elements_per_example(shape).unwrap_or(u64::MAX))
    }

    /// Whether a gradient flows to this input.
    fn differentiable(&self, _input: usize) -> bool {
        true
    }

    /// Whether a gradient flows from this output. Masks, indices and running statistics have none.
    fn differentiable_output(&self, output: usize) -> bool {
        output == 0
    }

    /// Inputs that hold running statistics: parameters that training moves without a gradient.
    fn statistics(&self) -> &'static [usize] {
        &[]
    }

    /// Writes other nodes in place of this one where the model is trained: what the operator does
    /// differently there, or what its gradient needs saved. Returns whether it did.
    fn train(&self, _site: &Site<'_>, _graph: &mut GraphBuilder) -> Result<bool, String> {
        Ok(false)
    }

    /// Writes other nodes in place of this one where the model is evaluated, if it was exported so as to
    /// behave otherwise there. Returns whether it did.
    fn evaluate(&self, _site: &Site<'_>, _graph: &mut GraphBuilder) -> Result<bool, String> {
        Ok(false)
    }

    /// Writes the gradients of the wanted inputs, given the gradient of the first output. Only called
    /// where an input is wanted.
    fn gradient(
        &self,
        _site: &Site<'_>,
        _upstream: &str,
        _graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        Ok(Vec::new())
    }

    /// The same for an operator of which several outputs carry a gradient; those that reach no loss have
    /// none.
    fn gradients(
        &self,
        site: &Site<'_>,
        upstream: &[Option<String>],
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        match upstream.first() {
            Some(Some(upstream)) => self.gradient(site, upstream, graph),
            _ => Ok(Vec::new()),
        }
    }
}

static OPERATORS: &[&dyn Operator] = &[
    &abs::Abs,
    &add::Add,
    &and::And,
    &arg_max::ArgMax,
    &arg_min::ArgMin,
    &average_pool::AveragePool,
    &batch_normalization::BatchNormalization,
    &cast::Cast,
    &cast_like::CastLike,
    &ceil::Ceil,
    &celu::Celu,
    &clip::Clip,
    &concat::Concat,
    &constant::Constant,
    &constant_of_shape::ConstantOfShape,
    &conv::Conv,
    &conv_transpose::ConvTranspose,
    &cos::Cos,
    &cum_sum::CumSum,
    &depth_to_space::DepthToSpace,
    &div::Div,
    &dropout::Dropout,
    &einsum::Einsum,
    &elu::Elu,
    &equal::Equal,
    &erf::Erf,
    &exp::Exp,
    &expand::Expand,
    &eye_like::EyeLike,
    &flatten::Flatten,
    &floor::Floor,
    &gather::Gather,
    &gather_elements::GatherElements,
    &gather_nd::GatherND,
    &gelu::Gelu,
    &gemm::Gemm,
    &global_average_pool::GlobalAveragePool,
    &global_max_pool::GlobalMaxPool,
    &greater::Greater,
    &greater_or_equal::GreaterOrEqual,
    &gru::Gru,
    &group_normalization::GroupNormalization,
    &hard_sigmoid::HardSigmoid,
    &hard_swish::HardSwish,
    &identity::Identity,
    &instance_normalization::InstanceNormalization,
    &is_inf::IsInf,
    &is_nan::IsNaN,
    &layer_normalization::LayerNormalization,
    &leaky_relu::LeakyRelu,
    &less::Less,
    &less_or_equal::LessOrEqual,
    &log::Log,
    &log_softmax::LogSoftmax,
    &lstm::Lstm,
    &matmul::MatMul,
    &max::Max,
    &max_pool::MaxPool,
    &mean::Mean,
    &min::Min,
    &mish::Mish,
    &modulo::Mod,
    &mul::Mul,
    &neg::Neg,
    &not::Not,
    &one_hot::OneHot,
    &or::Or,
    &pad::Pad,
    &pow::Pow,
    &prelu::PRelu,
    &range::Range,
    &reciprocal::Reciprocal,
    &reduce_l1::ReduceL1,
    &reduce_l2::ReduceL2,
    &reduce_log_sum::ReduceLogSum,
    &reduce_log_sum_exp::ReduceLogSumExp,
    &reduce_max::ReduceMax,
    &reduce_mean::ReduceMean,
    &reduce_min::ReduceMin,
    &reduce_prod::ReduceProd,
    &reduce_sum::ReduceSum,
    &reduce_sum_square::ReduceSumSquare,
    &relu::Relu,
    &reshape::Reshape,
    &resize::Resize,
    &rnn::Rnn,
    &round::Round,
    &scatter_elements::ScatterElements,
    &scatter_nd::ScatterND,
    &selu::Selu,
    &shape::Shape,
    &sigmoid::Sigmoid,
    &sign::Sign,
    &sin::Sin,
    &size::Size,
    &slice::Slice,
    &softmax::Softmax,
    &softplus::Softplus,
    &softsign::Softsign,
    &space_to_depth::SpaceToDepth,
    &split::Split,
    &sqrt::Sqrt,
    &squeeze::Squeeze,
    &sub::Sub,
    &sum::Sum,
    &tanh::Tanh,
    &thresholded_relu::ThresholdedRelu,
    &tile::Tile,
    &topk::TopK,
    &transpose::Transpose,
    &trilu::Trilu,
    &unsqueeze::Unsqueeze,
    &where_op::Where,
    &xor::Xor,
];

/// The rules for an operator of that name, if the operator set has it.
pub(crate) fn find(op_type: &str, opset: i64) -> Option<&'static dyn Operator> {
    OPERATORS
        .iter()
        .copied()
        .find(|operator| operator.name() == op_type && operator.since() <= opset)
}

/// Names of all operators that can be trained, in the order of the alphabet.
pub fn supported_operators() -> Vec<&'static str> {
    let mut names: Vec<_> = OPERATORS.iter().map(|operator| operator.name()).collect();
    names.sort_unstable();
    names
}

/// Whether a Softmax or LogSoftmax runs over the last axis.
pub(crate) fn is_over_last_axis(graph: &Graph, node: &Node) -> bool {
    let rank = graph.values[graph.output()].shape().len();
    let axis = int_or(&node.proto, "axis", -1);
    normalize_axis(axis, rank).is_ok_and(|axis| axis + 1 == rank)
}
