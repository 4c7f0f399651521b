//! Shapes with at most one dimension that depends on the batch.

use std::fmt;

use crate::proto::tensor_proto::DataType;

/// One dimension of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    /// A known size.
    Fixed(u64),
    /// So many times the number of examples in the batch.
    Batch(u64),
}

/// Dimensions, outermost first.
pub(crate) type Shape = Vec<Dim>;

/// A whole number that is known before the batch is: itself, or so many times the number of examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int {
    /// This number.
    Fixed(i64),
    /// So many times the number of examples; not 0 times.
    Batch(i64),
}

impl Int {
    /// The number, where it does not depend on the batch.
    pub(crate) fn fixed(self) -> Option<i64> {
        match self {
            Int::Fixed(number) => Some(number),
            Int::Batch(_) => None,
        }
    }

    /// The sum; none where it would be neither a number nor a multiple of the batch, or overflows.
    pub(crate) fn plus(self, other: Int) -> Option<Int> {
        Some(match (self, other) {
            (Int::Fixed(a), Int::Fixed(b)) => Int::Fixed(a.checked_add(b)?),
            (Int::Batch(a), Int::Batch(b)) => Int::batch(a.checked_add(b)?),
            (Int::Fixed(0), other) | (other, Int::Fixed(0)) => other,
            _ => return None,
        })
    }

    /// The product, under the same conditions.
    pub(crate) fn times(self, other: Int) -> Option<Int> {
        Some(match (self, other) {
            (Int::Fixed(a), Int::Fixed(b)) => Int::Fixed(a.checked_mul(b)?),
            (Int::Batch(a), Int::Fixed(b)) | (Int::Fixed(b), Int::Batch(a)) => {
                Int::batch(a.checked_mul(b)?)
            }
            _ => return None,
        })
    }

    /// The quotient, rounded towards 0, under the same conditions; a multiple of the batch must be
    /// divided without rest.
    pub(crate) fn over(self, other: Int) -> Option<Int> {
        Some(match (self, other) {
            (Int::Fixed(a), Int::Fixed(b)) => Int::Fixed(a.checked_div(b)?),
            (Int::Batch(a), Int::Fixed(b)) if a.checked_rem(b)? == 0 => {
                Int::batch(a.checked_div(b)?)
            }
            (Int::Batch(a), Int::Batch(b)) if a.checked_rem(b)? == 0 => {
                Int::Fixed(a.checked_div(b)?)
            }
            _ => return None,
        })
    }

    /// Whether it is at least the other; none where that depends on the size of the batch, which is at
    /// least 1.
    pub(crate) fn at_least(self, other: Int) -> Option<bool> {
        match (self, other) {
            (Int::Fixed(a), Int::Fixed(b)) | (Int::Batch(a), Int::Batch(b)) => Some(a >= b),
            (Int::Batch(a), Int::Fixed(b)) if a > 0 && a >= b => Some(true),
            (Int::Batch(a), Int::Fixed(b)) if a < 0 && a < b => Some(false),
            (Int::Fixed(a), Int::Batch(b)) if b < 0 && a >= b => Some(true),
            (Int::Fixed(a), Int::Batch(b)) if b > 0 && a < b => Some(false),
            _ => None,
        }
    }

    /// Whether the two are the same, under the same conditions.
    pub(crate) fn equals(self, other: Int) -> Option<bool> {
        match (self.at_least(other), other.at_least(self)) {
            (Some(true), Some(true)) => Some(true),
            (Some(false), _) | (_, Some(false)) => Some(false),
            _ => None,
        }
    }

    /// The larger of the two, under the same conditions.
    pub(crate) fn larger(self, other: Int) -> Option<Int> {
        match (self.at_least(other), other.at_least(self)) {
            (Some(true), _) | (_, Some(false)) => Some(self),
            (Some(false), _) | (_, Some(true)) => Some(other),
            _ => None,
        }
    }

    /// The smaller of the two, under the same conditions.
    pub(crate) fn smaller(self, other: Int) -> Option<Int> {
        let larger = self.larger(other)?;
        Some(if larger == self { other } else { self })
    }

    fn batch(times: i64) -> Int {
        match times {
            0 => Int::Fixed(0),
            times => Int::Batch(times),
        }
    }
}

impl From<Dim> for Int {
    fn from(dim: Dim) -> Self {
        match dim {
            Dim::Fixed(size) => Int::Fixed(size as i64),
            Dim::Batch(times) => Int::Batch(times as i64),
        }
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Int::Fixed(number) => write!(f, "{number}"),
            Int::Batch(1) => write!(f, "N"),
            Int::Batch(times) => write!(f, "{times}N"),
        }
    }
}

impl Dim {
    /// The size, where it does not depend on the batch.
    pub(crate) fn fixed(self) -> Option<u64> {
        match self {
            Dim::Fixed(size) => Some(size),
            Dim::Batch(_) => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Batch(1) => write!(f, "N"),
            Dim::Batch(times) => write!(f, "{times}N"),
        }
    }
}

/// `[N,16]`, for messages.
pub(crate) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(","))
}

/// Type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    I32,
    I64,
    Bool,
}

impl Element {
    /// From the number in the protobuf; none for types that no supported operator takes.
    pub(crate) fn from_proto(data_type: i32) -> Option<Self> {
        Some(match DataType::try_from(data_type).ok()? {
            DataType::Float => Element::F32,
            DataType::Double => Element::F64,
            DataType::Float16 => Element::F16,
            DataType::Int32 => Element::I32,
            DataType::Int64 => Element::I64,
            DataType::Bool => Element::Bool,
            _ => return None,
        })
    }

    /// The number in the protobuf.
    pub(crate) fn to_proto(self) -> i32 {
        (match self {
            Element::F32 => DataType::Float,
            Element::F64 => DataType::Double,
            Element::F16 => DataType::Float16,
            Element::I32 => DataType::Int32,
            Element::I64 => DataType::Int64,
            Element::Bool => DataType::Bool,
        }) as i32
    }

    /// Whether a gradient can pass through it.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F64 | Element::F16)
    }

    /// Bytes of one element in `raw_data`.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::Bool => 1,
            Element::F16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::F64 | Element::I64 => 8,
        }
    }
}

/// Element type and shape of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) element: Element,
    pub(crate) shape: Shape,
}

impl ValueType {
    pub(crate) fn f32(shape: Shape) -> Self {
        Self {
            element: Element::F32,
            shape,
        }
    }
}

/// Elements of one example: the product of all sizes, counting the batch as one; none on overflow.
pub(crate) fn elements_per_example(shape: &[Dim]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, dim| match dim {
        Dim::Fixed(size) | Dim::Batch(size) => product.checked_mul(*size),
    })
}

/// Where the batch is, if anywhere.
pub(crate) fn batch_axis(shape: &[Dim]) -> Option<usize> {
    shape.iter().position(|dim| matches!(dim, Dim::Batch(_)))
}

/// The shape as operand of Reshape: −1 stands for the batch dimension.
pub(crate) fn as_reshape(shape: &[Dim]) -> Vec<i64> {
    shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => *size as i64,
            Dim::Batch(_) => -1,
        })
        .collect()
}

/// Multidirectional broadcasting as ONNX defines it.
pub(crate) fn broadcast(left: &[Dim], right: &[Dim]) -> Result<Shape, String> {
    let rank = left.len().max(right.len());
    let dim = |shape: &[Dim], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(own) => shape[own],
        None => Dim::Fixed(1),
    };
    (0..rank)
        .map(|axis| match (dim(left, axis), dim(right, axis)) {
            (a, b) if a == b => Ok(a),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Ok(other),
            _ => Err(format!(
                "shapes {} and {} do not broadcast",
                show(left),
                show(right)
            )),
        })
        .collect()
}

/// An axis attribute, which may count from the end, as an index.
pub(crate) fn normalize_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let rank_signed = rank as i64;
    let index = if axis < 0 {
        axis.checked_add(rank_signed)
    } else {
        Some(axis)
    };
    match index {
        Some(index) if (0..rank_signed).contains(&index) => Ok(index as usize),
        _ => Err(format!("axis {axis} is outside a value of rank {rank}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_onnx() {
        use Dim::{Batch, Fixed};
        fn check(left: &[Dim], right: &[Dim], expected: Option<&[Dim]>) {
            let got = broadcast(left, right).ok();
            assert_eq!(
                got.as_deref(),
                expected,
                "{} with {}",
                show(left),
                show(right)
            );
        }
        check(
            &[Batch(1), Fixed(3)],
            &[Fixed(3)],
            Some(&[Batch(1), Fixed(3)]),
        );
        check(
            &[Fixed(1), Fixed(3)],
            &[Batch(1), Fixed(1)],
            Some(&[Batch(1), Fixed(3)]),
        );
        check(&[], &[Batch(2)], Some(&[Batch(2)]));
        check(&[Batch(1)], &[Batch(2)], None);
        check(&[Batch(1)], &[Fixed(4)], None);
        check(&[Fixed(2)], &[Fixed(3)], None);
    }

    #[test]
    fn numbers_are_compared_for_every_size_of_the_batch() {
        use Int::{Batch, Fixed};
        fn check(left: Int, right: Int, at_least: Option<bool>, equals: Option<bool>) {
            assert_eq!(left.at_least(right), at_least, "{left} >= {right}");
            assert_eq!(left.equals(right), equals, "{left} == {right}");
            assert_eq!(right.equals(left), equals, "{right} == {left}");
        }
        check(Fixed(3), Fixed(3), Some(true), Some(true));
        check(Fixed(2), Fixed(3), Some(false), Some(false));
        check(Batch(2), Batch(2), Some(true), Some(true));
        check(Batch(1), Batch(2), Some(false), Some(false));
        check(Batch(1), Fixed(-1), Some(true), Some(false));
        check(Batch(2), Fixed(1), Some(true), Some(false));
        check(Fixed(0), Batch(1), Some(false), Some(false));
        check(Batch(-1), Fixed(0), Some(false), Some(false));
        check(Fixed(0), Batch(-1), Some(true), Some(false));
        // A batch of one is no larger than 1, one of two is.
        check(Batch(1), Fixed(1), Some(true), None);
        check(Batch(1), Fixed(2), None, None);
        check(Fixed(2), Batch(1), None, None);
        assert_eq!(Fixed(1).larger(Batch(1)), Some(Batch(1)));
        assert_eq!(Batch(1).smaller(Fixed(1)), Some(Fixed(1)));
        assert_eq!(Batch(1).larger(Fixed(2)), None);
        assert_eq!(Fixed(-2).smaller(Fixed(3)), Some(Fixed(-2)));
    }

    #[test]
    fn axes_count_from_either_end() {
        assert_eq!(normalize_axis(-1, 3), Ok(2));
        assert_eq!(normalize_axis(2, 3), Ok(2));
        assert!(normalize_axis(3, 3).is_err());
        assert!(normalize_axis(i64::MIN, 3).is_err());
    }
}
