//! Rows of numbers and what they should give.

use crate::error::TrainError;

/// Rows × columns, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// From its elements in row-major order.
    ///
    /// # Errors
    /// The elements do not fill whole rows.
    pub fn new(columns: usize, data: Vec<f32>) -> Result<Self, TrainError> {
        if columns == 0 || !data.len().is_multiple_of(columns) {
            return Err(TrainError::Examples(format!(
                "{} numbers do not fill rows of {columns} columns",
                data.len()
            )));
        }
        Ok(Self {
            rows: data.len() / columns,
            columns,
            data,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All elements, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// One row; panics past the last.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }
}

/// What the examples should give.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Class indices, for softmax cross-entropy.
    Classes(Vec<i64>),
    /// 0 or 1 for binary cross-entropy, numbers for regression; row-major where an example has several.
    Values(Vec<f32>),
}

impl Targets {
    fn len(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Values(values) => values.len(),
        }
    }
}

/// Inputs with their targets: at least one row, and every number finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    pub(crate) features: Matrix,
    pub(crate) targets: Targets,
}

impl Examples {
    /// Checks inputs and targets against each other.
    ///
    /// # Errors
    /// There are no rows, too few or too many targets, or a number that is not finite.
    pub fn new(features: Matrix, targets: Targets) -> Result<Self, TrainError> {
        let fail = |reason: String| Err(TrainError::Examples(reason));
        if features.rows() == 0 {
            return fail("there are no rows".to_owned());
        }
        if targets.len() == 0 || !targets.len().is_multiple_of(features.rows()) {
            return fail(format!(
                "{} rows have {} targets",
                features.rows(),
                targets.len()
            ));
        }
        if let Some(at) = features
            .data()
            .iter()
            .position(|number| !number.is_finite())
        {
            let (row, column) = (at / features.columns(), at % features.columns());
            return fail(format!("row {row}, column {column} is not a finite number"));
        }
        if let Targets::Values(values) = &targets
            && let Some(at) = values.iter().position(|number| !number.is_finite())
        {
            return fail(format!("target {at} is not a finite number"));
        }
        Ok(Self { features, targets })
    }

    /// Number of examples.
    pub fn rows(&self) -> usize {
        self.features.rows()
    }

    /// The inputs.
    pub fn features(&self) -> &Matrix {
        &self.features
    }

    /// What they should give.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }
}
