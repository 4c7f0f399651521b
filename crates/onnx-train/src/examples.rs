//! Rows of numbers and what they should give.

use onnx_grad::InputKind;

use crate::error::TrainError;
use crate::weights::check_weights;
use crate::windows::Windows;

/// Rows × columns, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<T = f32> {
    rows: usize,
    columns: usize,
    data: Vec<T>,
}

impl<T> Matrix<T> {
    /// From its elements in row-major order.
    ///
    /// # Errors
    /// The elements do not fill whole rows.
    pub fn new(columns: usize, data: Vec<T>) -> Result<Self, TrainError> {
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
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// One row; panics past the last.
    pub fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }
}

/// What goes into one input of a model: a row for each example, with its dimensions laid out row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// For a float32 input.
    Numbers(Matrix),
    /// For an int64 input, such as the indices of an embedding.
    Indices(Matrix<i64>),
    /// For a float32 input whose examples are windows over rows that are kept once.
    Windows(Windows),
}

impl Input {
    /// Number of examples.
    pub fn rows(&self) -> usize {
        match self {
            Input::Numbers(matrix) => matrix.rows(),
            Input::Indices(matrix) => matrix.rows(),
            Input::Windows(windows) => windows.count(),
        }
    }

    /// Elements of one example.
    pub fn columns(&self) -> usize {
        match self {
            Input::Numbers(matrix) => matrix.columns(),
            Input::Indices(matrix) => matrix.columns(),
            Input::Windows(windows) => windows.elements(),
        }
    }

    /// What its elements are.
    pub fn kind(&self) -> InputKind {
        match self {
            Input::Numbers(_) | Input::Windows(_) => InputKind::F32,
            Input::Indices(_) => InputKind::I64,
        }
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

/// Inputs with their targets, and what each counts where they do not count the same: at least one row, and
/// every number finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    inputs: Vec<Input>,
    targets: Targets,
    weights: Option<Vec<f32>>,
}

impl Examples {
    /// Examples of a model with one float32 input.
    ///
    /// # Errors
    /// As [`Examples::of_inputs`].
    pub fn new(features: Matrix, targets: Targets) -> Result<Self, TrainError> {
        Self::of_inputs(vec![Input::Numbers(features)], targets)
    }

    /// Checks inputs, in the order of the model's, and targets against each other.
    ///
    /// # Errors
    /// There are no rows, inputs of different numbers of them, too few or too many targets, or a number
    /// that is not finite.
    pub fn of_inputs(inputs: Vec<Input>, targets: Targets) -> Result<Self, TrainError> {
        let fail = |reason: String| Err(TrainError::Examples(reason));
        let rows = inputs.first().map_or(0, Input::rows);
        if rows == 0 {
            return fail("there are no rows".to_owned());
        }
        if let Some(at) = inputs.iter().position(|input| input.rows() != rows) {
            let other = inputs[at].rows();
            return fail(format!("input 0 has {rows} rows, input {at} has {other}"));
        }
        if targets.len() == 0 || !targets.len().is_multiple_of(rows) {
            return fail(format!("{rows} rows have {} targets", targets.len()));
        }
        for input in &inputs {
            let matrix = match input {
                Input::Numbers(matrix) => matrix,
                Input::Windows(windows) => windows.rows(),
                Input::Indices(_) => continue,
            };
            let unfit = matrix.data().iter().position(|number| !number.is_finite());
            if let Some(at) = unfit {
                let (row, column) = (at / matrix.columns(), at % matrix.columns());
                return fail(format!("row {row}, column {column} is not a finite number"));
            }
        }
        if let Targets::Values(values) = &targets
            && let Some(at) = values.iter().position(|number| !number.is_finite())
        {
            return fail(format!("target {at} is not a finite number"));
        }
        Ok(Self {
            inputs,
            targets,
            weights: None,
        })
    }

    /// The same, of which each row counts so much in training: the loss of a batch is `Σ wᵢ·lᵢ / Σ wᵢ`. The
    /// losses that training and evaluation report count every row once.
    ///
    /// # Errors
    /// There is not one weight for each row, one is not from 0 to [`fl_model::EXAMPLE_WEIGHT_MAX`], or they
    /// come to nothing.
    pub fn weighted(self, weights: Vec<f32>) -> Result<Self, TrainError> {
        check_weights(&weights, self.rows())?;
        Ok(Self {
            weights: Some(weights),
            ..self
        })
    }

    /// Number of examples.
    pub fn rows(&self) -> usize {
        self.inputs.first().map_or(0, Input::rows)
    }

    /// What goes into each input of the model.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// How much each row counts in training, where they do not count the same.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// What they should give.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }
}
