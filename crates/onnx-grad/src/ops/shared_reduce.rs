//! What reductions do alike: which axes they run over, their shapes, and the nodes of their gradients.

use super::{InputGradients, shared, shared_axes};
use crate::attributes::{find, int, int_or, ints};
use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Element, Int, Shape, ValueType, as_reshape};
use crate::tensor::Tensor;

/// Operator set in which ReduceSum takes its axes from an input.
pub(super) const SUM_AXES_INPUT: i64 = 13;
/// Operator set in which the other reductions do.
pub(super) const AXES_INPUT: i64 = 18;

/// A reduction of one node.
pub(super) struct Reduction {
    /// Axes that are reduced, ascending; none where every element is on its own.
    axes: Vec<usize>,
    /// Whether they stay, with one element.
    keep: bool,
    input: Shape,
}

impl Reduction {
    /// Reads which axes a node reduces; `axes_input` is the operator set from which on they are an input.
    pub(super) fn read(site: &Site<'_>, axes_input: i64) -> Result<Self, String> {
        let input = site.input(0)?.shape().clone();
        let given = given_axes(site, axes_input)?;
        let is_noop =
            site.opset >= axes_input && int_or(site.proto, "noop_with_empty_axes", 0) != 0;
        let mut axes = match &given[..] {
            [] if is_noop => Vec::new(),
            [] => (0..input.len()).collect(),
            given => shared_axes::distinct_axes(given, input.len())?,
        };
        axes.sort_unstable();
        for &axis in &axes {
            let works = match given.is_empty() {
                true => "names no axes, so that it reduces all, also",
                false => "reduces",
            };
            shared_axes::fixed_size(&input, axis, works)?;
        }
        Ok(Self {
            axes,
            keep: int_or(site.proto, "keepdims", 1) != 0,
            input,
        })
    }

    /// Shape of the output.
    pub(super) fn shape(&self) -> Shape {
        let dims = self.input.iter().enumerate();
        dims.filter_map(|(axis, dim)| match self.axes.contains(&axis) {
            true if self.keep => Some(Dim::Fixed(1)),
            true => None,
            false => Some(*dim),
        })
        .collect()
    }

    /// Shape of the output, were the reduced axes kept.
    fn kept(&self) -> Shape {
        let dims = self.input.iter().enumerate();
        dims.map(|(axis, dim)| match self.axes.contains(&axis) {
            true => Dim::Fixed(1),
            false => *dim,
        })
        .collect()
    }

    /// Elements that become one; none on overflow.
    pub(super) fn count(&self) -> Option<u64> {
        let sizes = self.axes.iter().map(|axis| self.input[*axis].fixed());
        sizes
            .into_iter()
            .try_fold(1u64, |product, size| product.checked_mul(size?))
    }

    /// A value of the output's shape with the reduced axes put back, so that it broadcasts to the input.
    pub(super) fn spread(&self, value: &str, graph: &mut GraphBuilder) -> String {
        if self.keep || self.axes.is_empty() {
            return value.to_owned();
        }
        graph.reshape(value, &as_reshape(&self.kept()))
    }

    /// A spread value repeated along the reduced axes.
    pub(super) fn expand(&self, value: &str, graph: &mut GraphBuilder) -> String {
        if self.axes.is_empty() {
            return value.to_owned();
        }
        // Expand keeps an axis for which a 1 is asked: the batch, of which the size is not known here.
        let sizes = self.input.iter().map(|dim| match dim {
            Dim::Fixed(size) => *size as i64,
            Dim::Batch(_) => 1,
        });
        let shape = graph.integers(&sizes.collect::<Vec<_>>());
        graph.node("Expand", &[value, &shape], &[])
    }

    /// The same reduction by another operator, with the axes kept.
    pub(super) fn write(
        &self,
        site: &Site<'_>,
        operator: &str,
        axes_input: i64,
        value: &str,
        graph: &mut GraphBuilder,
    ) -> String {
        if self.axes.is_empty() {
            return value.to_owned();
        }
        let axes: Vec<i64> = self.axes.iter().map(|axis| *axis as i64).collect();
        let keep = int("keepdims", 1);
        if site.opset < axes_input {
            return graph.node(operator, &[value], &[keep, ints("axes", &axes)]);
        }
        let axes = graph.integers(&axes);
        graph.node(operator, &[value, &axes], &[keep])
    }

    /// Sum over the reduced axes, which are kept.
    pub(super) fn sum(&self, site: &Site<'_>, value: &str, graph: &mut GraphBuilder) -> String {
        self.write(site, "ReduceSum", SUM_AXES_INPUT, value, graph)
    }
}

/// The axes as the node has them; empty where it names none.
fn given_axes(site: &Site<'_>, axes_input: i64) -> Result<Vec<i64>, String> {
    let attribute = find(site.proto, "axes");
    if site.opset < axes_input {
        site.at_most_inputs(1)?;
        return Ok(attribute.map(|own| own.ints.clone()).unwrap_or_default());
    }
    site.at_most_inputs(2)?;
    if attribute.is_some() {
        return Err(format!(
            "its axes are an attribute, which operator set {} does not read; export the model again",
            site.opset
        ));
    }
    Ok(site.fixed_ints(1)?.unwrap_or_default())
}

/// Output type of a reduction of float32.
pub(super) fn infer(site: &Site<'_>, axes_input: i64) -> Result<Vec<ValueType>, String> {
    site.float(0)?;
    infer_number(site, axes_input)
}

/// Output type of a reduction that takes whole numbers as well, which have no gradient.
pub(super) fn infer_number(site: &Site<'_>, axes_input: i64) -> Result<Vec<ValueType>, String> {
    let element = shared::number(site, 0)?;
    let shape = Reduction::read(site, axes_input)?.shape();
    Ok(vec![ValueType { element, shape }])
}

/// What becomes of a known list of whole numbers, such as a shape.
pub(super) fn known(
    site: &Site<'_>,
    axes_input: i64,
    combine: impl Fn(Int, Int) -> Option<Int>,
) -> Result<Option<Tensor>, String> {
    let Some(tensor) = &site.input(0)?.constant else {
        return Ok(None);
    };
    let (Some(values), [_]) = (tensor.ints(), &tensor.dims[..]) else {
        return Ok(None);
    };
    let reduction = Reduction::read(site, axes_input)?;
    if reduction.axes.is_empty() {
        return Ok(Some(tensor.clone()));
    }
    let mut values = values.into_iter();
    let total = values
        .next()
        .and_then(|first| values.try_fold(first, combine));
    let dims = if reduction.keep { vec![1] } else { Vec::new() };
    Ok(total.map(|total| Tensor::sizes(dims, vec![total])))
}

/// Gradient of ReduceMax and ReduceMin: `dy` goes to the elements that were taken, in even parts where
/// several were.
pub(super) fn extreme_gradient(
    site: &Site<'_>,
    upstream: &str,
    graph: &mut GraphBuilder,
) -> Result<InputGradients, String> {
    let reduction = Reduction::read(site, AXES_INPUT)?;
    let y = reduction.spread(&site.output()?.name, graph);
    let upstream = reduction.spread(upstream, graph);
    let equal = graph.node("Equal", &[&site.input(0)?.name, &y], &[]);
    let taken = graph.cast(&equal, Element::F32);
    let count = reduction.sum(site, &taken, graph);
    let part = graph.node("Div", &[&upstream, &count], &[]);
    Ok(vec![Some(graph.node("Mul", &[&taken, &part], &[]))])
}
