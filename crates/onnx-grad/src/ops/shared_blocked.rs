//! Convolution in the layout that ONNX Runtime has for its own use: `[N, C/B, H, W, B]`, with B channels
//! beside each other as a processor's instructions take them. Against ordinary operators a depthwise
//! convolution takes a fifth of the time, for a kernel over one channel is no product of matrices, and others
//! take three quarters.
//!
//! The runtime's optimiser goes there only where weights are constant, which in training they are not, so
//! the nodes are written out. Shapes are declared as if the order were the ordinary one.

use crate::attributes::{int, ints};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::kernels::Kernels;

use super::InputGradients;
use super::shared_convolution::{Convolution, bias_gradient};
use super::shared_windows::Axis;

/// The domain of the layout's operators.
const DOMAIN: &str = "com.microsoft.nchwc";
/// What the forward pass keeps for the gradient of a depthwise convolution's weights.
const SAVED: &str = "input in blocks";

/// An axis that a convolution in one dimension lacks.
const UNIT: Axis = Axis {
    input: 1,
    outputs: 1,
    kernel: 1,
    stride: 1,
    dilation: 1,
    begin: 0,
    end: 0,
    declared_end: 0,
};

/// A convolution whose channels fill whole blocks.
pub(super) struct Blocked<'a> {
    own: &'a Convolution,
    axes: [Axis; 2],
    block: i64,
}

/// What slides over what: the attributes of a node, two numbers for each axis.
struct Sliding {
    /// Before both axes, then behind them.
    pads: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
}

impl<'a> Blocked<'a> {
    /// The convolution as one over blocks, where the runtime has them and that is worth it: 1×1 kernels are
    /// products as they are.
    pub(super) fn of(own: &'a Convolution, kernels: Kernels) -> Option<Self> {
        let axes = match own.windows.0[..] {
            [width] => [UNIT, width],
            [height, width] => [height, width],
            _ => return None,
        };
        let block = i64::from(kernels.channel_block?);
        let whole = |channels: i64| block > 1 && channels % block == 0;
        // Wider strides leave elements between windows, which the weight gradient does not provide for.
        let touching = axes.iter().all(|axis| axis.stride <= axis.extent());
        let fits = match own.group {
            1 => !own.windows.is_pointwise() && (whole(own.inputs) || own.inputs < block),
            _ => own.is_depthwise() && touching,
        };
        (fits && whole(own.outputs)).then_some(Self { own, axes, block })
    }

    /// Writes the output; in training also keeps what the gradient of depthwise weights reads. That of others
    /// reads the input as it is.
    pub(super) fn forward(
        &self,
        site: &Site<'_>,
        training: bool,
        graph: &mut GraphBuilder,
    ) -> Result<(), String> {
        let (x, w, y) = (site.input(0)?, site.input(1)?, site.output()?);
        let sizes = self.each(|axis| axis.input);
        let mut read = self.in_plane(&x.name, self.own.inputs, &sizes, graph);
        // Fewer channels than a block are read as they are.
        if self.own.inputs >= self.block {
            read = self.blocks(&read, graph);
        }
        let kernel = self.kernel(&w.name, self.own.outputs, self.own.inputs, false, graph);
        let mut inputs = vec![&read[..], &kernel];
        inputs.extend(site.optional(2).map(|bias| &bias.name[..]));
        let sliding = Sliding {
            pads: self.pads(|axis| [axis.begin, axis.end]),
            strides: self.each(|axis| axis.stride),
            dilations: self.each(|axis| axis.dilation),
        };
        let made = self.convolution(&inputs, &sliding, graph);
        let sizes = self.each(|axis| axis.outputs);
        let output = Some(y.name.clone());
        self.channels_first(&made, self.own.outputs, &sizes, output, graph);
        if training && self.own.is_depthwise() {
            graph.save(&y.name, SAVED, read);
        }
        Ok(())
    }

    /// The gradients of input, weights and bias, as far as they are wanted.
    pub(super) fn gradients(
        &self,
        site: &Site<'_>,
        upstream: &str,
        graph: &mut GraphBuilder,
    ) -> Result<InputGradients, String> {
        let (x, w) = (&site.input(0)?.name, &site.input(1)?.name);
        let sizes = self.each(|axis| axis.outputs);
        let dy = self.in_plane(upstream, self.own.outputs, &sizes, graph);
        let dy = self.blocks(&dy, graph);
        let dx = site.wants(0).then(|| match self.backward() {
            Some(sliding) => self.input_gradient(&dy, w, &sliding, graph),
            None => self.own.input_gradient(upstream, w, graph),
        });
        let dw = match (site.wants(1), self.own.is_depthwise()) {
            (true, true) => {
                let x = graph.saved(&site.output()?.name, SAVED)?;
                Some(self.weight_gradient(&x, &dy, graph))
            }
            (true, false) => Some(self.own.weight_gradient(x, upstream, graph)),
            (false, _) => None,
        };
        let rank = self.own.windows.rank();
        let db = site.wants(2).then(|| bias_gradient(upstream, rank, graph));
        Ok(vec![dx, dw, db])
    }

    /// How the convolution of `dy` slides that gives `dx`; none where strides or channels keep it from being
    /// one.
    fn backward(&self) -> Option<Sliding> {
        let pads = self.pads(|axis| {
            let begin = axis.extent() - 1 - axis.begin;
            [begin, axis.input - axis.outputs + axis.extent() - 1 - begin]
        });
        let fits = self.own.inputs % self.block == 0
            && !self.own.windows.is_strided()
            && pads.iter().all(|pad| *pad >= 0);
        fits.then(|| Sliding {
            pads,
            strides: vec![1, 1],
            dilations: self.each(|axis| axis.dilation),
        })
    }

    /// `dx`: the convolution of `dy` with the kernels turned around.
    fn input_gradient(
        &self,
        dy: &str,
        w: &str,
        sliding: &Sliding,
        graph: &mut GraphBuilder,
    ) -> String {
        let (inputs, outputs) = (self.own.inputs, self.own.outputs);
        let kernel = match self.own.group {
            1 => {
                let taps = self.own.windows.taps();
                let w = graph.reshape(w, &[outputs, inputs, taps]);
                let w = graph.transpose(&w, &[1, 0, 2]);
                self.kernel(&w, inputs, outputs, true, graph)
            }
            _ => self.kernel(w, outputs, inputs, true, graph),
        };
        let made = self.convolution(&[dy, &kernel], sliding, graph);
        let sizes = self.each(|axis| axis.input);
        self.channels_first(&made, inputs, &sizes, None, graph)
    }

    /// `dw` of a depthwise convolution: one convolution with `dy` as its kernel, in which strides and
    /// dilations have changed places. The examples stand below each other, `dy` with rows of zeros between
    /// them, so that its windows read each example at the same place and add up over all.
    fn weight_gradient(&self, x: &str, dy: &str, graph: &mut GraphBuilder) -> String {
        let (channels, [height, width]) = (self.own.outputs, self.axes);
        let reach = |axis: &Axis| (axis.outputs - 1) * axis.stride + axis.extent();
        let rows = (reach(&height) + height.stride - 1) / height.stride;
        let behind = rows * height.stride - height.begin - height.input;
        let x = self.stacked(
            x,
            [height.input, width.input],
            [height.begin, behind],
            graph,
        );
        let x = graph.reshape(&x, &[1, channels, -1, width.input]);
        let between = [0, rows - height.outputs];
        let dy = self.stacked(dy, [height.outputs, width.outputs], between, graph);
        let dy = graph.reshape(&dy, &[channels, 1, -1, width.outputs]);

        let beyond = reach(&width) - width.begin - width.input;
        let below = height.extent() - height.stride;
        let sliding = Sliding {
            pads: vec![0, width.begin, below, beyond.max(0)],
            strides: self.each(|axis| axis.dilation),
            dilations: self.each(|axis| axis.stride),
        };
        let made = self.convolution(&[&x, &dy], &sliding, graph);
        // Where the input goes on behind the last window, further columns come of it.
        let columns = width.kernel + (-beyond).max(0) / width.dilation;
        let blocks = channels / self.block;
        let mut taps = graph.reshape(&made, &[blocks, height.kernel, columns, self.block]);
        if columns > width.kernel {
            taps = graph.slice(&taps, &[2], &[0], &[width.kernel]);
        }
        let taps = graph.transpose(&taps, &[0, 3, 1, 2]);
        graph.reshape(&taps, &self.own.weight_shape())
    }

    /// The examples of a value in blocks below each other, `[C/B, N, rows, columns·B]`, each with so many rows
    /// of zeros before and behind it; less than 0 takes rows away.
    fn stacked(
        &self,
        value: &str,
        [rows, columns]: [i64; 2],
        [before, behind]: [i64; 2],
        graph: &mut GraphBuilder,
    ) -> String {
        let blocks = self.own.outputs / self.block;
        let value = graph.reshape(value, &[-1, blocks, rows, columns * self.block]);
        let value = graph.pad(&value, &[0, 0, before, 0], &[0, 0, behind, 0]);
        graph.transpose(&value, &[1, 0, 2, 3])
    }

    /// A value `[N, C, …]` with two axes behind the channels.
    fn in_plane(
        &self,
        value: &str,
        channels: i64,
        sizes: &[i64],
        graph: &mut GraphBuilder,
    ) -> String {
        match self.own.windows.rank() {
            1 => graph.reshape(value, &[&[-1, channels], sizes].concat()),
            _ => value.to_owned(),
        }
    }

    /// A value `[N, C, H, W]` in blocks.
    fn blocks(&self, value: &str, graph: &mut GraphBuilder) -> String {
        let output = graph.fresh("fl.blocks");
        graph.foreign_node(DOMAIN, "ReorderInput", &[value], &[], output.clone());
        output
    }

    /// A value in blocks as `[N, C, …]`, under the given name where there is one.
    fn channels_first(
        &self,
        value: &str,
        channels: i64,
        sizes: &[i64],
        name: Option<String>,
        graph: &mut GraphBuilder,
    ) -> String {
        let output = name.unwrap_or_else(|| graph.fresh("fl.channels"));
        let line = self.own.windows.rank() == 1;
        let ordered = match line {
            true => graph.fresh("fl.channels"),
            false => output.clone(),
        };
        let attributes = [int("channels", channels)];
        graph.foreign_node(
            DOMAIN,
            "ReorderOutput",
            &[value],
            &attributes,
            ordered.clone(),
        );
        if line {
            let shape = graph.integers(&[-1, channels, sizes[1]]);
            graph.node_into("Reshape", &[&ordered, &shape], &[], output.clone());
        }
        output
    }

    /// Weights `[outputs, inputs/group, …]` in blocks of both, or of the outputs alone where the inputs are
    /// not; `turned` by half a circle. For `dx`, which goes from outputs to inputs, these are the weights with
    /// their first two axes exchanged, and so are the numbers of channels. Two steps of simple transposes take
    /// a seventh of one that does all.
    fn kernel(
        &self,
        w: &str,
        outputs: i64,
        inputs: i64,
        turned: bool,
        graph: &mut GraphBuilder,
    ) -> String {
        let (block, taps) = (self.block, self.own.windows.taps());
        let inputs = inputs / self.own.group;
        let mut kernel = w.to_owned();
        // How many numbers stand beside each other that belong to one element of the window.
        let mut beside = block;
        if inputs % block == 0 {
            kernel = graph.reshape(&kernel, &[outputs * inputs / block, block, taps]);
            kernel = graph.transpose(&kernel, &[0, 2, 1]);
            beside *= block;
        }
        kernel = graph.reshape(&kernel, &[outputs / block, block, inputs * taps]);
        kernel = graph.transpose(&kernel, &[0, 2, 1]);
        if turned {
            kernel = graph.reshape(&kernel, &[-1, taps, beside]);
            kernel = graph.reversed(&kernel, 1);
        }
        let [height, width] = self.axes.each_ref().map(|axis| axis.kernel);
        graph.reshape(&kernel, &[outputs, inputs, height, width])
    }

    fn convolution(&self, inputs: &[&str], sliding: &Sliding, graph: &mut GraphBuilder) -> String {
        let attributes = [
            ints("pads", &sliding.pads),
            ints("strides", &sliding.strides),
            ints("dilations", &sliding.dilations),
            int("group", self.own.group),
        ];
        let output = graph.fresh("fl.blocks");
        graph.foreign_node(DOMAIN, "Conv", inputs, &attributes, output.clone());
        output
    }

    fn each(&self, of: impl Fn(&Axis) -> i64) -> Vec<i64> {
        self.axes.iter().map(of).collect()
    }

    /// Before both axes, then behind them.
    fn pads(&self, of: impl Fn(&Axis) -> [i64; 2]) -> Vec<i64> {
        [self.each(|axis| of(axis)[0]), self.each(|axis| of(axis)[1])].concat()
    }
}
