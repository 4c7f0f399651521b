//! Integer counters: statistics of features, and how well a model does.

use crate::data::Normalization;

/// Real figures as integers, so that they add exactly in any order.
pub struct FixedPoint;

impl FixedPoint {
    /// Steps of a loss or an error per unit: 2^20.
    pub const LOSS_STEPS: f64 = 1_048_576.0;
    /// Steps of a feature's sum per unit: 2^40.
    pub const FEATURE_STEPS: f64 = 1_099_511_627_776.0;

    /// A sum of losses or errors in steps; none where it is not finite or too large for 2^95, of
    /// which 128 bits hold as many as there can be contributions.
    pub fn loss(value: f64) -> Option<i128> {
        let steps = (value * Self::LOSS_STEPS).round_ties_even();
        (steps.abs() < 39_614_081_257_132_168_796_771_975_168.0).then_some(steps as i128)
    }

    /// A sum of feature values in steps; none where it is not finite or too large for 2^120.
    pub fn feature(value: f64) -> Option<i128> {
        let steps = (value * Self::FEATURE_STEPS).round_ties_even();
        (steps.abs() < 1.329_227_995_784_916e36).then_some(steps as i128)
    }
}

/// Sums over the training rows, one entry per encoded column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureStatistics {
    /// Training rows.
    pub rows: u64,
    /// Values present.
    pub count: Vec<u64>,
    /// Values missing.
    pub missing: Vec<u64>,
    /// Sum of the values, in [`FixedPoint::FEATURE_STEPS`].
    pub sum: Vec<i128>,
    /// Sum of their squares, in [`FixedPoint::FEATURE_STEPS`].
    pub squares: Vec<i128>,
}

impl FeatureStatistics {
    /// No rows of `columns` encoded columns.
    pub fn empty(columns: usize) -> Self {
        Self {
            rows: 0,
            count: vec![0; columns],
            missing: vec![0; columns],
            sum: vec![0; columns],
            squares: vec![0; columns],
        }
    }

    /// The statistics of a row-major matrix `[rows, columns]` in which NaN is a missing value.
    ///
    /// None where a value is too large to be summed exactly: such a column wants another unit.
    pub fn of(values: &[f32], columns: usize) -> Option<Self> {
        let mut of = Self::empty(columns);
        if columns == 0 {
            return Some(of);
        }
        for row in values.chunks_exact(columns) {
            of.rows += 1;
            for (column, &value) in row.iter().enumerate() {
                of.take(column, value)?;
            }
        }
        Some(of)
    }

    /// The statistics of examples of those dimensions, one after the other, row-major: a column for each
    /// index of the dimension `axis`, or one for all elements.
    ///
    /// None where a value is too large, or there is no such dimension.
    pub fn of_tensors(values: &[f32], dims: &[u64], axis: Option<usize>) -> Option<Self> {
        let elements = |dims: &[u64]| dims.iter().product::<u64>() as usize;
        let (columns, inner) = match axis {
            None => (1, elements(dims)),
            Some(axis) => (*dims.get(axis)? as usize, elements(&dims[axis + 1..])),
        };
        let mut of = Self::empty(columns);
        for example in values.chunks_exact(elements(dims).max(1)) {
            of.rows += 1;
            for (block, values) in example.chunks_exact(inner.max(1)).enumerate() {
                for &value in values {
                    of.take(block % columns, value)?;
                }
            }
        }
        Some(of)
    }

    /// Puts the columns of other inputs of the same rows after these.
    pub fn join(&mut self, other: Self) {
        self.count.extend(other.count);
        self.missing.extend(other.missing);
        self.sum.extend(other.sum);
        self.squares.extend(other.squares);
    }

    fn take(&mut self, column: usize, value: f32) -> Option<()> {
        if value.is_nan() {
            self.missing[column] += 1;
            return Some(());
        }
        let wide = f64::from(value);
        self.count[column] += 1;
        self.sum[column] = self.sum[column].checked_add(FixedPoint::feature(wide)?)?;
        let square = FixedPoint::feature(wide * wide)?;
        self.squares[column] = self.squares[column].checked_add(square)?;
        Some(())
    }

    /// Mean and 1/standard deviation per column. Columns that `one_hot` marks, and those that never
    /// vary or were never seen, keep scale 1; one-hot columns keep mean 0 too.
    pub fn normalization(&self, one_hot: &[bool]) -> Normalization {
        let moments = |column: usize| {
            let count = self.count[column] as f64;
            if one_hot.get(column).copied().unwrap_or(false) || count == 0.0 {
                return (0.0, 1.0);
            }
            let mean = self.sum[column] as f64 / FixedPoint::FEATURE_STEPS / count;
            let square = self.squares[column] as f64 / FixedPoint::FEATURE_STEPS / count;
            let variance = square - mean * mean;
            // Below this share of the mean square, the variance is rounding and the column a constant.
            let varies = variance > square * 1e-12;
            let scale = if varies { 1.0 / variance.sqrt() } else { 1.0 };
            (mean as f32, scale as f32)
        };
        let (mean, scale) = (0..self.count.len()).map(moments).unzip();
        Normalization { mean, scale }
    }
}

/// How a model does on test rows, as integers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EvaluationCounters {
    /// Test rows.
    pub examples: u64,
    /// Rows told right; 0 for regression.
    pub correct: u64,
    /// Sum of the losses, in [`FixedPoint::LOSS_STEPS`].
    pub loss: i128,
    /// Rows by (actual class, told class), row-major `[C, C]`; empty for regression.
    pub confusion: Vec<u64>,
    /// Sum of absolute errors, in [`FixedPoint::LOSS_STEPS`]; 0 for classification.
    pub absolute_error: i128,
    /// Sum of squared errors, in [`FixedPoint::LOSS_STEPS`]; 0 for classification.
    pub squared_error: i128,
}

impl EvaluationCounters {
    /// Share of rows told right; none without rows or for regression.
    pub fn accuracy(&self) -> Option<f64> {
        let of = !self.confusion.is_empty() && self.examples > 0;
        of.then(|| self.correct as f64 / self.examples as f64)
    }

    /// Mean loss over the rows; none without rows.
    pub fn mean_loss(&self) -> Option<f64> {
        let sum = self.loss as f64 / FixedPoint::LOSS_STEPS;
        (self.examples > 0).then(|| sum / self.examples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_from_the_sums() {
        let rows = [1.0, 7.0, f32::NAN, 7.0, 3.0, 7.0];
        let statistics = FeatureStatistics::of(&rows, 2).unwrap();
        assert_eq!(statistics.count, [2, 3]);
        assert_eq!(statistics.missing, [1, 0]);
        let normal = statistics.normalization(&[false, false]);
        assert_eq!(normal.mean, [2.0, 7.0]);
        assert_eq!(normal.scale, [1.0, 1.0]);
        let hot = statistics.normalization(&[true, true]);
        assert_eq!(hot.mean, [0.0, 0.0]);
    }

    #[test]
    fn each_channel_of_a_tensor_is_a_column() {
        // Two examples of [2, 3].
        let values = [
            0.0,
            1.0,
            2.0,
            10.0,
            11.0,
            f32::NAN,
            3.0,
            4.0,
            5.0,
            12.0,
            13.0,
            14.0,
        ];
        let check = |axis, count: &[u64], sum: &[i128]| {
            let of = FeatureStatistics::of_tensors(&values, &[2, 3], axis).unwrap();
            let sums: Vec<i128> = of.sum.iter().map(|steps| steps >> 40).collect();
            assert_eq!(
                (of.rows, &of.count[..], &sums[..]),
                (2, count, sum),
                "{axis:?}"
            );
            assert_eq!(of.missing.iter().sum::<u64>(), 1);
        };
        check(None, &[11], &[75]);
        check(Some(0), &[6, 5], &[15, 60]);
        check(Some(1), &[4, 4, 3], &[25, 29, 21]);
        assert!(FeatureStatistics::of_tensors(&values, &[2, 3], Some(2)).is_none());
        let mut joined = FeatureStatistics::of_tensors(&values, &[2, 3], Some(0)).unwrap();
        joined.join(FeatureStatistics::of_tensors(&[1.0, 2.0], &[], None).unwrap());
        assert_eq!((joined.rows, joined.count), (2, vec![6, 5, 2]));
    }

    #[test]
    fn what_cannot_be_summed_is_refused() {
        assert!(FeatureStatistics::of(&[f32::INFINITY], 1).is_none());
        assert!(FeatureStatistics::of(&[f32::MAX], 1).is_none());
        assert!(FixedPoint::loss(f64::NAN).is_none());
        // Squared errors of a hundred thousand over a million rows.
        assert_eq!(FixedPoint::loss(1e16), Some(10i128.pow(16) << 20));
        assert!(FixedPoint::loss(4e22).is_none());
        assert_eq!(FixedPoint::loss(-0.5), Some(-524_288));
    }
}
