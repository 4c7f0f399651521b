//! What operators that move, cut and join along axes do alike.

use crate::builder::GraphBuilder;
use crate::graph::Site;
use crate::shape::{Dim, Element, Int, Shape, ValueType, as_reshape, normalize_axis, show};
use crate::tensor::Tensor;

/// Most whole numbers that are worked out while a model is read. Shapes are shorter by far; positions in
/// a sequence may be as many.
pub(crate) const KNOWN_MAX: usize = 4096;

/// An input whose elements are only moved: float32, or of a type that has no gradient.
pub(super) fn moved_element(site: &Site<'_>, index: usize) -> Result<Element, String> {
    match site.input(index)?.value_type.element {
        element if element.is_float() => Ok(site.float(index)?.value_type.element),
        element => Ok(element),
    }
}

/// The first input's element type in another shape.
pub(super) fn moved_into(site: &Site<'_>, shape: Shape) -> Result<Vec<ValueType>, String> {
    let element = moved_element(site, 0)?;
    Ok(vec![ValueType { element, shape }])
}

/// Axes, which may count from the end, as indices; each may be named once.
pub(super) fn distinct_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut distinct = Vec::with_capacity(axes.len());
    for &axis in axes {
        let index = normalize_axis(axis, rank)?;
        if distinct.contains(&index) {
            return Err(format!("names axis {axis} twice"));
        }
        distinct.push(index);
    }
    Ok(distinct)
}

/// Size of an axis that an operator works along, which must not be the batch; `works` says what it does
/// there.
pub(super) fn fixed_size(shape: &[Dim], axis: usize, works: &str) -> Result<u64, String> {
    match shape.get(axis) {
        Some(Dim::Fixed(size)) => Ok(*size),
        Some(Dim::Batch(_)) => Err(format!(
            "{works} axis {axis} of {}, which mixes examples of a batch; name another axis",
            show(shape)
        )),
        None => Err(format!("axis {axis} is outside {}", show(shape))),
    }
}

/// The known whole numbers of an input of rank 1 or 0.
pub(super) fn known_list(site: &Site<'_>, index: usize) -> Option<Vec<Int>> {
    let known = site.optional(index)?.constant.as_ref()?;
    known.ints().filter(|_| known.dims.len() <= 1)
}

/// One known whole number, at an input of rank 1 or 0.
pub(super) fn known_number(site: &Site<'_>, index: usize) -> Result<Int, String> {
    match site.ints(index)?.as_deref() {
        Some([number]) => Ok(*number),
        Some(other) => Err(format!(
            "its input {index} holds {} numbers, one is expected",
            other.len()
        )),
        None => Err(format!("input {index} is missing")),
    }
}

/// A list of whole numbers as a known tensor.
pub(super) fn known(values: Vec<Int>) -> Tensor {
    Tensor::sizes(vec![values.len() as u64], values)
}

/// Sizes that a model asks for as a shape; each must be 1 or more.
pub(super) fn shape_of(sizes: &[Int]) -> Result<Shape, String> {
    let dim = |size: &Int| match *size {
        Int::Fixed(size @ 1..) => Ok(Dim::Fixed(size as u64)),
        Int::Batch(times @ 1..) => Ok(Dim::Batch(times as u64)),
        other => Err(format!(
            "asks for a size of {other}; sizes must be at least 1"
        )),
    };
    sizes.iter().map(dim).collect()
}

/// The product of a matrix, `[to, from]` row by row, with a value of the given shape along one axis, whose
/// size goes from `from` to `to`.
pub(super) fn multiply_axis(
    value: &str,
    shape: &[Dim],
    axis: usize,
    matrix: &Matrix,
    graph: &mut GraphBuilder,
) -> String {
    if axis + 1 == shape.len() {
        let transposed = matrix.transposed();
        let right = graph.tensor(&[transposed.rows, transposed.columns], &transposed.values);
        return graph.node("MatMul", &[value, &right], &[]);
    }
    let left = graph.tensor(&[matrix.rows, matrix.columns], &matrix.values);
    multiply_axis_by(value, shape, axis, &left, matrix.rows, graph)
}

/// The same with a matrix that is a value of the graph; not for the last axis alone.
pub(super) fn multiply_axis_by(
    value: &str,
    shape: &[Dim],
    axis: usize,
    left: &str,
    rows: u64,
    graph: &mut GraphBuilder,
) -> String {
    // The product is over the last axis but one.
    let stacked = axis + 2 == shape.len();
    let mut operand = value.to_owned();
    if !stacked {
        operand = graph.reshape(value, &merge_after(shape, axis));
    }
    let product = graph.node("MatMul", &[left, &operand], &[]);
    if stacked {
        return product;
    }
    let mut result = shape.to_vec();
    result[axis] = Dim::Fixed(rows);
    graph.reshape(&product, &as_reshape(&result))
}

/// A shape whose axes after this one are one.
fn merge_after(shape: &[Dim], axis: usize) -> Vec<i64> {
    let (before, after) = shape.split_at(axis + 1);
    let mut merged = as_reshape(before);
    merged.push(merged_size(after));
    merged
}

/// Axes made one, as operand of Reshape.
pub(super) fn merged_size(dims: &[Dim]) -> i64 {
    let sizes = dims.iter().map(|dim| dim.fixed().map(|size| size as i64));
    // Sizes have been checked to stay within bounds.
    sizes.product::<Option<i64>>().unwrap_or(-1)
}

/// A constant matrix, row by row.
pub(super) struct Matrix {
    pub(super) rows: u64,
    pub(super) columns: u64,
    pub(super) values: Vec<f32>,
}

impl Matrix {
    /// Most elements: a matrix of this many is 4 MiB in the graph.
    const ELEMENTS_MAX: u64 = 1 << 20;

    /// All zeros; none where there would be too many.
    pub(super) fn zeros(rows: u64, columns: u64) -> Option<Self> {
        let count = rows.checked_mul(columns)?;
        (count <= Self::ELEMENTS_MAX).then(|| Self {
            rows,
            columns,
            values: vec![0.0; count as usize],
        })
    }

    /// Adds to an element, where there is one.
    pub(super) fn add(&mut self, row: u64, column: u64, value: f32) {
        if column < self.columns
            && let Some(at) = self.values.get_mut((row * self.columns + column) as usize)
        {
            *at += value;
        }
    }

    /// Rows as columns.
    pub(super) fn transposed(&self) -> Self {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let element = |at: usize| self.values[at % rows * columns + at / rows];
        Self {
            rows: self.columns,
            columns: self.rows,
            values: (0..self.values.len()).map(element).collect(),
        }
    }
}
