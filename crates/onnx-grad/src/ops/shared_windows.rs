//! Windows that convolution and pooling slide over the axes behind the channels.

use crate::attributes::{find, int_or, ints, text_or};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::limits::Limits;
use crate::proto::AttributeProto;
use crate::shape::{Dim, Shape, elements_per_example, show};

/// Most axes that windows slide over.
const AXES_MAX: usize = 2;
/// Most that a kernel, stride, dilation, padding or size may be: sums and products of a few cannot overflow.
const SIZE_MAX: i64 = 1 << 24;

/// The windows along one axis: `outputs` of them, `stride` apart, the first `begin` before the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) input: i64,
    pub(super) outputs: i64,
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) dilation: i64,
    pub(super) begin: i64,
    /// Padding behind the input, as far as the last window reaches or the node says, whichever is more.
    pub(super) end: i64,
    /// What the node says of it.
    pub(super) declared_end: i64,
}

impl Axis {
    /// From a window's first element to its last.
    pub(super) fn extent(&self) -> i64 {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Elements at the end of the padded input that no window reaches.
    pub(super) fn slack(&self) -> i64 {
        self.begin + self.input + self.end - (self.outputs - 1) * self.stride - self.extent()
    }

    /// Whether the windows lie side by side from the first element on, inside the input.
    fn is_tiled(&self) -> bool {
        let apart = self.stride == self.kernel || self.outputs == 1;
        apart && self.dilation == 1 && self.begin == 0 && self.kernel * self.outputs <= self.input
    }
}

/// The windows along every axis behind the channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows(pub(super) Vec<Axis>);

impl Windows {
    /// Reads a node's attributes for windows over the values of this shape, `[N, C, …]`.
    pub(super) fn read(site: &Site<'_>, shape: &Shape, kernel: &[i64]) -> Result<Self, String> {
        let inputs = spatial(shape)?;
        let frame = Frame::read(site, inputs.len())?;
        let same = kernel.len() == inputs.len();
        if !same || kernel.iter().any(|size| !(1..=SIZE_MAX).contains(size)) {
            return Err(format!(
                "its kernel {kernel:?} does not fit {}",
                show(shape)
            ));
        }
        let ceil = int_or(site.proto, "ceil_mode", 0) != 0;
        let axes = (0..inputs.len()).map(|at| {
            let mut axis = frame.axis(at, inputs[at], kernel[at]);
            let padding = axis.extent()
                + (inputs[at] + axis.stride - 1) / axis.stride * axis.stride
                - axis.stride
                - axis.input;
            (axis.begin, axis.end) = frame.padding.split(at, padding);
            axis.declared_end = axis.end;
            let room = axis.begin + axis.input + axis.end - axis.extent();
            if room < 0 {
                return Err(format!(
                    "its kernel {kernel:?} is larger than the padded input {}",
                    show(shape)
                ));
            }
            axis.outputs = room / axis.stride + 1;
            // A last window that hangs over the end counts if it begins before the padding there.
            let hangs = room % axis.stride != 0;
            if ceil && hangs && axis.outputs * axis.stride < axis.input + axis.begin {
                axis.outputs += 1;
            }
            axis.end += (-axis.slack()).max(0);
            Ok(axis)
        });
        let windows = Self(axes.collect::<Result<_, _>>()?);
        windows.check_padded(shape)?;
        Ok(windows)
    }

    /// Reads those of a transposed convolution of the values of this shape: its output is what the windows
    /// slide over, and its input has an element for each.
    pub(super) fn read_transposed(
        site: &Site<'_>,
        shape: &Shape,
        kernel: &[i64],
    ) -> Result<Self, String> {
        let outputs = spatial(shape)?;
        let rank = outputs.len();
        let frame = Frame::read(site, rank)?;
        let added = sizes(site, "output_padding", rank, 0)?.unwrap_or_else(|| vec![0; rank]);
        let wanted = match sizes(site, "output_shape", rank, 1)? {
            None if frame.padding.is_same() => {
                let covered = outputs.iter().zip(&frame.strides);
                Some(covered.map(|(size, stride)| size * stride).collect())
            }
            wanted => wanted,
        };
        let mut axes = Vec::with_capacity(rank);
        for at in 0..rank {
            let mut axis = frame.axis(at, 0, kernel.get(at).copied().unwrap_or(0));
            axis.outputs = outputs[at];
            if added[at] >= axis.stride {
                return Err(format!(
                    "its output_padding {added:?} must be less than its strides {:?}",
                    frame.strides
                ));
            }
            let whole = (axis.outputs - 1) * axis.stride + axis.extent() + added[at];
            (axis.begin, axis.end) = match &wanted {
                Some(wanted) if wanted[at] <= whole => frame.padding.cut(whole - wanted[at]),
                Some(wanted) => {
                    return Err(format!(
                        "its output_shape {wanted:?} is more than its input covers"
                    ));
                }
                None => frame.padding.split(at, 0),
            };
            axis.declared_end = axis.end;
            axis.input = whole - axis.begin - axis.end;
            if axis.input < 1 {
                return Err("its pads leave nothing of its output".to_owned());
            }
            axes.push(axis);
        }
        let windows = Self(axes);
        windows.check_padded(shape)?;
        Ok(windows)
    }

    /// The gradients are taken over a padded copy, so that its size is bounded like any other.
    fn check_padded(&self, shape: &Shape) -> Result<(), String> {
        let limit = Limits::default().tensor_elements_max;
        let mut padded = shape[..2].to_vec();
        padded.extend(
            self.0
                .iter()
                .map(|axis| Dim::Fixed((axis.begin + axis.input + axis.end) as u64)),
        );
        match elements_per_example(&padded) {
            Some(count) if count <= limit => Ok(()),
            _ => Err(format!(
                "its padded input {} has more than {limit} elements an example",
                show(&padded)
            )),
        }
    }

    /// A value for each axis.
    pub(super) fn each(&self, of: impl Fn(&Axis) -> i64) -> Vec<i64> {
        self.0.iter().map(of).collect()
    }

    /// Number of axes.
    pub(super) fn rank(&self) -> usize {
        self.0.len()
    }

    /// Elements in a window.
    pub(super) fn taps(&self) -> i64 {
        self.each(|axis| axis.kernel)
            .into_iter()
            .fold(1, i64::saturating_mul)
    }

    /// Paddings before all axes, then behind them, as a `pads` attribute has them.
    pub(super) fn pads(&self) -> Vec<i64> {
        [self.each(|axis| axis.begin), self.each(|axis| axis.end)].concat()
    }

    /// Whether windows are one element wide and each element has one.
    pub(super) fn is_pointwise(&self) -> bool {
        let mut axes = self.0.iter();
        axes.all(|axis| (axis.kernel, axis.stride, axis.begin, axis.end) == (1, 1, 0, 0))
    }

    /// Whether any windows are more than one element apart.
    pub(super) fn is_strided(&self) -> bool {
        self.0.iter().any(|axis| axis.stride > 1)
    }

    /// Whether the windows lie side by side inside the input, and so share no element.
    pub(super) fn is_tiled(&self) -> bool {
        self.0.iter().all(Axis::is_tiled)
    }

    /// The input with its padding, which are zeros.
    pub(super) fn pad(&self, x: &str, graph: &mut GraphBuilder) -> String {
        let before = [vec![0, 0], self.each(|axis| axis.begin)].concat();
        let behind = [vec![0, 0], self.each(|axis| axis.end)].concat();
        graph.pad(x, &before, &behind)
    }

    /// What the windows' element `tap` along the axes of these numbers reads from the padded input, of which
    /// `first_axis` is the first that windows slide over.
    pub(super) fn cut(
        &self,
        padded: &str,
        axes: &[usize],
        first_axis: usize,
        tap: &[i64],
        graph: &mut GraphBuilder,
    ) -> String {
        let read: Vec<[i64; 4]> = axes
            .iter()
            .zip(tap)
            .map(|(at, tap)| {
                let axis = &self.0[*at];
                let start = tap * axis.dilation;
                let end = start + (axis.outputs - 1) * axis.stride + 1;
                [(first_axis + at) as i64, start, end, axis.stride]
            })
            .collect();
        let [axes, starts, ends, steps] = [0, 1, 2, 3].map(|of| {
            let list: Vec<i64> = read.iter().map(|axis| axis[of]).collect();
            graph.integers(&list)
        });
        graph.node("Slice", &[padded, &starts, &ends, &axes, &steps], &[])
    }

    /// The attributes of a convolution with these windows.
    pub(super) fn attributes(&self) -> Vec<AttributeProto> {
        vec![
            ints("kernel_shape", &self.each(|axis| axis.kernel)),
            ints("strides", &self.each(|axis| axis.stride)),
            ints("dilations", &self.each(|axis| axis.dilation)),
            ints("pads", &self.pads()),
        ]
    }

    /// The attributes of the transposed convolution that leads back to the input.
    pub(super) fn transposed_attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = self.attributes();
        attributes.push(ints("output_padding", &self.each(Axis::slack)));
        attributes
    }
}

/// Most elements of a convolution's window.
pub(super) const TAPS_MAX: i64 = 16_384;

/// Refuses windows of so many elements that a gradient with nodes for each would be too large.
pub(super) fn check_taps(kernel: &[i64], taps_max: i64) -> Result<(), String> {
    let taps = kernel
        .iter()
        .try_fold(1i64, |product, size| product.checked_mul(*size));
    match taps {
        Some(taps) if taps <= taps_max => Ok(()),
        _ => Err(format!(
            "has windows of {kernel:?}, more than {taps_max} elements; use smaller windows, or a global pooling"
        )),
    }
}

/// Every index into an array of these sizes, in row-major order.
pub(super) fn taps(sizes: &[i64]) -> Vec<Vec<i64>> {
    sizes.iter().fold(vec![Vec::new()], |prefixes, &size| {
        let extend = |prefix: Vec<i64>| (0..size).map(move |at| [&prefix[..], &[at]].concat());
        prefixes.into_iter().flat_map(extend).collect()
    })
}

/// What the attributes say of all axes.
struct Frame {
    strides: Vec<i64>,
    dilations: Vec<i64>,
    padding: Padding,
}

impl Frame {
    fn read(site: &Site<'_>, rank: usize) -> Result<Self, String> {
        let or_ones = |name| Ok::<_, String>(sizes(site, name, rank, 1)?.unwrap_or(vec![1; rank]));
        Ok(Self {
            strides: or_ones("strides")?,
            dilations: or_ones("dilations")?,
            padding: Padding::read(site, rank)?,
        })
    }

    /// An axis of which padding and number of windows are not known yet.
    fn axis(&self, at: usize, input: i64, kernel: i64) -> Axis {
        Axis {
            input,
            outputs: 1,
            kernel,
            stride: self.strides[at],
            dilation: self.dilations[at],
            begin: 0,
            end: 0,
            declared_end: 0,
        }
    }
}

/// Where the padding comes from.
enum Padding {
    /// Before all axes, then behind them.
    Explicit(Vec<i64>),
    /// As much as makes an output for every stride; what is odd goes behind the input, or before it.
    Same { odd_behind: bool },
}

impl Padding {
    fn read(site: &Site<'_>, rank: usize) -> Result<Self, String> {
        Ok(match text_or(site.proto, "auto_pad", "NOTSET") {
            "NOTSET" | "" => {
                let pads = sizes(site, "pads", 2 * rank, 0)?;
                Padding::Explicit(pads.unwrap_or_else(|| vec![0; 2 * rank]))
            }
            "VALID" => Padding::Explicit(vec![0; 2 * rank]),
            "SAME_UPPER" => Padding::Same { odd_behind: true },
            "SAME_LOWER" => Padding::Same { odd_behind: false },
            other => {
                return Err(format!(
                    "its auto_pad `{other}` is unknown; NOTSET, VALID, SAME_UPPER and SAME_LOWER are supported"
                ));
            }
        })
    }

    fn is_same(&self) -> bool {
        matches!(self, Padding::Same { .. })
    }

    /// Padding on both sides of an axis, of which SAME needs so much in all.
    fn split(&self, at: usize, same: i64) -> (i64, i64) {
        match self {
            Padding::Explicit(pads) => (pads[at], pads[at + pads.len() / 2]),
            Padding::Same { .. } => self.cut(same.max(0)),
        }
    }

    /// So much, in two halves.
    fn cut(&self, total: i64) -> (i64, i64) {
        match self {
            Padding::Same { odd_behind: true } => (total / 2, total - total / 2),
            _ => (total - total / 2, total / 2),
        }
    }
}

/// The sizes of the axes behind batch and channels.
fn spatial(shape: &Shape) -> Result<Vec<i64>, String> {
    if !(3..=2 + AXES_MAX).contains(&shape.len()) {
        return Err(format!(
            "slides over {}; expected is [N, channels, length] or [N, channels, height, width]",
            show(shape)
        ));
    }
    let fixed = |dim: &Dim| dim.fixed().filter(|size| *size <= SIZE_MAX as u64);
    let sizes: Option<Vec<i64>> = shape[2..]
        .iter()
        .map(|dim| Some(fixed(dim)? as i64))
        .collect();
    sizes.ok_or_else(|| {
        format!(
            "slides over the batch of {}, which mixes examples; transpose it to the front",
            show(shape)
        )
    })
}

/// A list attribute of one bounded size for each axis or side; none where it is left out.
fn sizes(site: &Site<'_>, name: &str, len: usize, min: i64) -> Result<Option<Vec<i64>>, String> {
    let Some(attribute) = find(site.proto, name) else {
        return Ok(None);
    };
    let sizes = &attribute.ints;
    if sizes.is_empty() {
        return Ok(None);
    }
    if sizes.len() != len || sizes.iter().any(|size| !(min..=SIZE_MAX).contains(size)) {
        return Err(format!(
            "its {name} are {sizes:?}; {len} numbers from {min} to {SIZE_MAX} are expected"
        ));
    }
    Ok(Some(sizes.clone()))
}

/// The kernel's sizes, which a pooling node must give.
pub(super) fn kernel_shape<'a>(site: &Site<'a>) -> Result<&'a [i64], String> {
    let attribute = find(site.proto, "kernel_shape");
    attribute
        .map(|attribute| &attribute.ints[..])
        .ok_or_else(|| "has no kernel_shape".to_owned())
}
