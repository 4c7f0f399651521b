//! A model file, and how it is taken.

use fl_model::ModelOptions;
use onnx_grad::{ForwardModel, Limits};

use crate::error::TrainError;

static PLAIN: ModelOptions = ModelOptions::PLAIN;

/// The bytes of a model file with what is said of its output and its parameters. Bytes alone are a model
/// whose first output has the loss, and of which all is trained and travels.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// How it is taken.
    pub options: &'a ModelOptions,
}

impl<'a> Model<'a> {
    /// A model file taken in this way.
    pub fn new(bytes: &'a [u8], options: &'a ModelOptions) -> Self {
        Self { bytes, options }
    }

    pub(crate) fn parse(self) -> Result<ForwardModel, TrainError> {
        let limits = Limits::default();
        Ok(ForwardModel::parse_with(self.bytes, &limits, self.options)?)
    }
}

impl<'a> From<&'a [u8]> for Model<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes, &PLAIN)
    }
}

impl<'a> From<&'a Vec<u8>> for Model<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::new(bytes, &PLAIN)
    }
}
