//! What a job's model takes: a table's columns, or tensors by the names of its inputs.

use crate::data::FeatureSpec;
use crate::tensor::{TensorInput, problem};
use crate::window::Window;

/// The inputs of a job's model, and where a device has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// One float32 input, made of the columns of a table.
    Table(TableInputs),
    /// Each input by its name, in the order of the job.
    Tensors(Vec<TensorInput>),
}

/// One input made of the columns of a CSV file.
#[derive(Debug, Clone, PartialEq)]
pub struct TableInputs {
    /// The columns.
    pub features: FeatureSpec,
    /// Name of the time column (`YYYY-MM-DDTHH:MM`), where features use `hour` or `month`.
    pub time_column: Option<String>,
    /// Examples of several rows each; without it an example is one row.
    pub window: Option<Window>,
    /// Name of the column that says how much a row counts in the loss of its batch, from 0 up; a window counts
    /// what its last row does. Without it all count the same.
    pub weight: Option<String>,
}

impl TableInputs {
    /// Dimensions of one example of the model's input: `[C]`, or those of a window of C encoded columns.
    pub fn example_dims(&self) -> Vec<u64> {
        let columns = self.features.encoded_width() as u64;
        match &self.window {
            Some(window) => window.dims(columns).to_vec(),
            None => vec![columns],
        }
    }
}

impl From<FeatureSpec> for Inputs {
    /// A table whose rows are the examples.
    fn from(features: FeatureSpec) -> Self {
        Inputs::Table(TableInputs {
            features,
            time_column: None,
            window: None,
            weight: None,
        })
    }
}

impl Inputs {
    /// The table, where the job's examples come from one.
    pub fn table(&self) -> Option<&TableInputs> {
        match self {
            Inputs::Table(table) => Some(table),
            Inputs::Tensors(_) => None,
        }
    }

    /// Columns of the statistics and of the normalisation: a table's encoded columns, or one for each
    /// channel, of the tensors in their order, that the statistics scale.
    pub fn encoded_width(&self) -> usize {
        match self {
            Inputs::Table(table) => table.features.encoded_width(),
            Inputs::Tensors(tensors) => tensors.iter().map(TensorInput::statistics_columns).sum(),
        }
    }

    /// Which of these columns stand for a category: they are neither centred nor scaled.
    pub fn one_hot(&self) -> Vec<bool> {
        match self {
            Inputs::Table(table) => table.features.one_hot(),
            Inputs::Tensors(_) => vec![false; self.encoded_width()],
        }
    }

    /// Why no device can follow them, or none.
    pub fn problem(&self) -> Option<String> {
        match self {
            Inputs::Table(_) => None,
            Inputs::Tensors(tensors) => problem(tensors),
        }
    }
}
