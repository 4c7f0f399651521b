//! Convolution and its transpose: the geometry that both have, and the gradient of the weights, which is
//! the same sum for both.

use crate::attributes::{find, int, int_or, ints};
use crate::builder::GraphBuilder;
use crate::graph::{Site, Value};
use crate::proto::AttributeProto;
use crate::shape::{Dim, show};

use super::shared_windows::{Windows, taps};

/// Most elements of a window that may have nodes of their own in the weight gradient.
const TAPS_MAX: i64 = 128;

/// Weights `[outputs, inputs/group, kernel…]` under windows. For a transposed convolution it is the
/// convolution that leads back: from its output's channels to its input's.
pub(super) struct Convolution {
    pub(super) inputs: i64,
    pub(super) outputs: i64,
    pub(super) group: i64,
    pub(super) windows: Windows,
}

/// How the weight gradient is written. Measured on ONNX Runtime 1.31 with one thread and 10 and 32
/// examples, in the layers of LeNet-5, ResNet-8, MobileNet and DS-CNN: in its place each is the fastest of
/// these or nearly so, and the slowest takes 1.5 to 4 times as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lowering {
    /// A convolution of the input with the upstream gradient as kernel, the batch as channels. For one
    /// input channel, and where depthwise windows are few or strided.
    Convolution,
    /// A product for each example, then their sum. For 1×1 kernels over large maps.
    PerExample,
    /// A product for each element of the window, with channels last: strided slices then copy runs of
    /// channels rather than single elements.
    ChannelsLast,
    /// Channels first, with so many of the last axes' window elements gathered into columns, and a
    /// product for each element of the other axes: wider products for few channels, fewer copies for many.
    Columns(usize),
}

impl Convolution {
    /// Whether every channel has one kernel of its own.
    pub(super) fn is_depthwise(&self) -> bool {
        self.group > 1 && self.inputs == self.group && self.outputs == self.group
    }

    /// Additions and multiplications for one example.
    pub(super) fn flops(&self) -> u64 {
        let windows = self.windows.0.iter();
        let sizes = windows.flat_map(|axis| [axis.outputs, axis.kernel]);
        let sizes = sizes.chain([self.outputs, self.inputs / self.group, 2]);
        sizes.fold(1, |product, size| {
            product.saturating_mul(size.unsigned_abs())
        })
    }

    /// The shape of the weights, which must be known and fit `channels` of the first input.
    pub(super) fn weights(site: &Site<'_>) -> Result<Vec<i64>, String> {
        let (x, w) = (site.float(0)?, site.float(1)?);
        let dims: Option<Vec<i64>> = w
            .shape()
            .iter()
            .map(|dim| Some(dim.fixed()? as i64))
            .collect();
        let dims = dims.filter(|dims| dims.len() == x.shape().len() && dims.len() > 2);
        let dims = dims.ok_or_else(|| {
            format!(
                "its weights {} do not fit {}",
                show(w.shape()),
                show(x.shape())
            )
        })?;
        match find(site.proto, "kernel_shape") {
            Some(kernel) if kernel.ints != dims[2..] => Err(format!(
                "its kernel_shape {:?} is not that of its weights {dims:?}",
                kernel.ints
            )),
            _ => Ok(dims),
        }
    }

    /// The `group` attribute, which must divide the channels of input and output.
    pub(super) fn group(site: &Site<'_>, channels: i64) -> Result<i64, String> {
        let group = int_or(site.proto, "group", 1);
        if group < 1 || channels % group != 0 {
            return Err(format!(
                "its {channels} channels do not fall into {group} groups"
            ));
        }
        Ok(group)
    }

    /// Channels of the first input, of which the batch must be the first axis.
    pub(super) fn channels(x: &Value) -> Result<i64, String> {
        match x.shape()[..] {
            [_, Dim::Fixed(channels), ..] => Ok(channels as i64),
            _ => Err(format!(
                "reads {}, where the batch is not the first axis, and would mix examples; transpose it to the front",
                show(x.shape())
            )),
        }
    }

    /// Refuses a bias that is not one number for each channel of the output.
    pub(super) fn check_bias(site: &Site<'_>, channels: i64) -> Result<(), String> {
        if site.optional(2).is_some() {
            let bias = site.float(2)?.shape();
            if bias[..] != [Dim::Fixed(channels as u64)] {
                return Err(format!(
                    "its bias {} does not fit {channels} channels",
                    show(bias)
                ));
            }
        }
        Ok(())
    }

    /// Attributes of a convolution node with this geometry.
    pub(super) fn attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = self.windows.attributes();
        attributes.push(int("group", self.group));
        attributes
    }

    /// `dx` from `dy`: a transposed convolution, or for 1×1 kernels a convolution with the transposed weights,
    /// which needs no columns.
    pub(super) fn input_gradient(&self, dy: &str, w: &str, graph: &mut GraphBuilder) -> String {
        if self.group == 1 && self.windows.is_pointwise() {
            let w = graph.transpose(w, &swapped(self.windows.rank()));
            return graph.node("Conv", &[dy, &w], &self.attributes());
        }
        let mut attributes = self.windows.transposed_attributes();
        attributes.push(int("group", self.group));
        graph.node("ConvTranspose", &[dy, w], &attributes)
    }

    /// `dw[m, c, t] = Σ dy[n, m, p]·x[n, c, stride·p + dilation·t − begin]` over examples n and windows p.
    pub(super) fn weight_gradient(&self, x: &str, dy: &str, graph: &mut GraphBuilder) -> String {
        match self.lowering() {
            Lowering::Convolution => self.by_convolution(x, dy, graph),
            Lowering::PerExample => self.by_example(x, dy, graph),
            Lowering::ChannelsLast => self.by_channels_last(x, dy, graph),
            Lowering::Columns(unfolded) => self.by_columns(x, dy, unfolded, graph),
        }
    }

    fn lowering(&self) -> Lowering {
        let windows = &self.windows;
        let places: i64 = windows.each(|axis| axis.outputs).iter().product();
        let (inputs, strided) = (self.inputs / self.group, windows.is_strided());
        match self.group {
            _ if windows.taps() > TAPS_MAX => Lowering::Convolution,
            1 if inputs == 1 => Lowering::Convolution,
            1 if windows.is_pointwise() && places >= 100 => Lowering::PerExample,
            1 if strided && inputs >= 8 => Lowering::ChannelsLast,
            1 => match inputs {
                ..=4 => Lowering::Columns(windows.rank()),
                5..=12 => Lowering::Columns(1),
                _ => Lowering::Columns(0),
            },
            _ if inputs == 1 && (strided || places <= 16) => Lowering::Convolution,
            _ => Lowering::Columns(1),
        }
    }

    fn by_convolution(&self, x: &str, dy: &str, graph: &mut GraphBuilder) -> String {
        let windows = &self.windows;
        let order = swapped(windows.rank());
        let inputs = self.inputs / self.group;
        let examples = match self.group {
            1 => graph.transpose(x, &order),
            group => {
                let sizes = windows.each(|axis| axis.input);
                let grouped = graph.reshape(x, &[&[-1, group, inputs], &sizes[..]].concat());
                let mut order: Vec<i64> = (0..3 + windows.rank() as i64).collect();
                order.swap(0, 2);
                let swapped = graph.transpose(&grouped, &order);
                graph.reshape(&swapped, &[&[inputs, -1], &sizes[..]].concat())
            }
        };
        // What no window reaches must not become further outputs.
        let ends = windows.each(|axis| axis.end - axis.slack());
        let less = ends.iter().map(|end| (*end).min(0));
        let less: Vec<i64> = [0, 0].into_iter().chain(less).collect();
        let examples = graph.pad(&examples, &vec![0; less.len()], &less);
        let ends: Vec<i64> = ends.into_iter().map(|end| end.max(0)).collect();
        let kernel = graph.transpose(dy, &order);
        let attributes = [
            ints("kernel_shape", &windows.each(|axis| axis.outputs)),
            ints("strides", &windows.each(|axis| axis.dilation)),
            ints("dilations", &windows.each(|axis| axis.stride)),
            ints("pads", &[windows.each(|axis| axis.begin), ends].concat()),
            int("group", self.group),
        ];
        let gradient = graph.node("Conv", &[&examples, &kernel], &attributes);
        graph.transpose(&gradient, &order)
    }

    fn by_example(&self, x: &str, dy: &str, graph: &mut GraphBuilder) -> String {
        let places: i64 = self.windows.each(|axis| axis.outputs).iter().product();
        let rows = graph.reshape(dy, &[-1, self.outputs, places]);
        let columns = graph.reshape(x, &[-1, self.inputs, places]);
        // ONNX Runtime fuses this transpose into the product.
        let columns = graph.transpose(&columns, &[0, 2, 1]);
        let products = graph.node("MatMul", &[&rows, &columns], &[]);
        let sum = graph.reduce_sum(&products, &[0], false);
        graph.reshape(&sum, &self.weight_shape())
    }

    fn by_channels_last(&self, x: &str, dy: &str, graph: &mut GraphBuilder) -> String {
        let rank = self.windows.rank() as i64;
        let order: Vec<i64> = [0].into_iter().chain(2..2 + rank).chain([1]).collect();
        let padded = self.windows.pad(x, graph);
        let padded = graph.transpose(&padded, &order);
        let rows = graph.transpose(dy, &order);
        let rows = graph.reshape(&rows, &[-1, self.outputs]);
        let all: Vec<usize> = (0..self.windows.rank()).collect();
        let products = self.taps(&all).into_iter().map(|tap| {
            let read = self.cut(&padded, &all, 1, &tap, graph);
            let read = graph.reshape(&read, &[-1, self.inputs]);
            graph.node("Gemm", &[&rows, &read], &[int("transA", 1)])
        });
        let products = products.collect();
        self.gather(products, 1, graph)
    }

    fn by_columns(&self, x: &str, dy: &str, unfolded: usize, graph: &mut GraphBuilder) -> String {
        let rank = self.windows.rank();
        let order = swapped(rank);
        let (outer, inner): (Vec<usize>, Vec<usize>) =
            (0..rank).partition(|at| at + unfolded < rank);
        let padded = self.windows.pad(x, graph);
        let mut source = graph.transpose(&padded, &order);
        // Behind the channels, then the batch.
        let mut first_axis = 2;
        let columns = self.taps(&inner);
        let width = columns.len() as i64;
        if columns.len() > 1 {
            let sizes: Vec<i64> = self
                .windows
                .0
                .iter()
                .enumerate()
                .map(|(at, axis)| match inner.contains(&at) {
                    true => axis.outputs,
                    false => axis.begin + axis.input + axis.end,
                })
                .collect();
            let shape = [&[self.inputs, 1, -1], &sizes[..]].concat();
            let columns: Vec<String> = columns
                .iter()
                .map(|tap| {
                    let read = self.cut(&source, &inner, 2, tap, graph);
                    graph.reshape(&read, &shape)
                })
                .collect();
            source = graph.concat(&columns, 1);
            first_axis = 3;
        } else if !inner.is_empty() {
            source = self.cut(&source, &inner, 2, &columns[0], graph);
        }
        let rows = graph.transpose(dy, &order);
        let rows = self.rows(&rows, graph);
        let products = self.taps(&outer).into_iter().map(|tap| {
            let read = self.cut(&source, &outer, first_axis, &tap, graph);
            self.product(&rows, &read, width, graph)
        });
        let products = products.collect();
        self.gather(products, width, graph)
    }

    /// The upstream gradient, channels first, as the operand of [`Self::product`].
    fn rows(&self, dy: &str, graph: &mut GraphBuilder) -> String {
        let outputs = self.outputs / self.group;
        match (self.group, self.inputs / self.group) {
            (1, _) => graph.reshape(dy, &[self.outputs, -1]),
            (group, 1) if outputs == 1 => graph.reshape(dy, &[group, -1, 1]),
            (group, 1) => {
                let rows = graph.reshape(dy, &[group, outputs, -1]);
                graph.transpose(&rows, &[0, 2, 1])
            }
            (group, _) => graph.reshape(dy, &[group, outputs, -1]),
        }
    }

    /// Upstream gradient times what it has read, for each group: `[outputs, inputs/group·width]`.
    fn product(&self, rows: &str, read: &str, width: i64, graph: &mut GraphBuilder) -> String {
        let inputs = self.inputs / self.group;
        match (self.group, inputs) {
            (1, _) => {
                let read = graph.reshape(read, &[inputs * width, -1]);
                graph.node("Gemm", &[rows, &read], &[int("transB", 1)])
            }
            (group, 1) => {
                let read = graph.reshape(read, &[group, width, -1]);
                let product = graph.node("MatMul", &[&read, rows], &[]);
                match self.outputs == group {
                    true => product,
                    false => graph.transpose(&product, &[0, 2, 1]),
                }
            }
            (group, _) => {
                let read = graph.reshape(read, &[group, inputs * width, -1]);
                let read = graph.transpose(&read, &[0, 2, 1]);
                graph.node("MatMul", &[rows, &read], &[])
            }
        }
    }

    /// Products for the elements of the window, each `width` of the last of them, as one gradient.
    fn gather(&self, products: Vec<String>, width: i64, graph: &mut GraphBuilder) -> String {
        let weights = self.outputs * self.inputs / self.group;
        let parts: Vec<String> = match products.len() {
            1 => products,
            _ => {
                let parts = products.iter();
                parts
                    .map(|part| graph.reshape(part, &[weights, 1, width]))
                    .collect()
            }
        };
        let whole = graph.concat(&parts, 1);
        graph.reshape(&whole, &self.weight_shape())
    }

    pub(super) fn weight_shape(&self) -> Vec<i64> {
        let kernel = self.windows.each(|axis| axis.kernel);
        [&[self.outputs, self.inputs / self.group], &kernel[..]].concat()
    }

    /// Every element of the window along these axes, in row-major order.
    fn taps(&self, axes: &[usize]) -> Vec<Vec<i64>> {
        taps(
            &axes
                .iter()
                .map(|at| self.windows.0[*at].kernel)
                .collect::<Vec<_>>(),
        )
    }

    /// What the windows' element `tap` along these axes reads; `first_axis` is where the axes begin.
    fn cut(
        &self,
        padded: &str,
        axes: &[usize],
        first_axis: usize,
        tap: &[i64],
        graph: &mut GraphBuilder,
    ) -> String {
        let whole = |at: &usize| {
            let axis = &self.windows.0[*at];
            axis.stride == 1 && axis.kernel == 1 && axis.slack() == 0
        };
        if axes.iter().all(whole) {
            return padded.to_owned();
        }
        self.windows.cut(padded, axes, first_axis, tap, graph)
    }
}

/// The first two axes exchanged, before so many more.
fn swapped(rank: usize) -> Vec<i64> {
    [1, 0].into_iter().chain(2..2 + rank as i64).collect()
}

/// `db = Σ dy` over examples and windows.
pub(super) fn bias_gradient(dy: &str, rank: usize, graph: &mut GraphBuilder) -> String {
    let axes: Vec<i64> = [0].into_iter().chain(2..2 + rank as i64).collect();
    graph.reduce_sum(dy, &axes, false)
}
