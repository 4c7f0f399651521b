//! Why training or evaluation could not be done.

use std::path::PathBuf;

/// Why a model could not be trained, evaluated or exported.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model, its loss, its features or its parameters.
    #[error(transparent)]
    Model(#[from] onnx_grad::ModelError),
    /// Nothing says where ONNX Runtime is.
    #[error(
        "no ONNX Runtime library: set ORT_DYLIB_PATH to libonnxruntime.so, or name it in the settings; where there is none for a device, build with the feature `tract`"
    )]
    RuntimePath,
    /// ONNX Runtime could not be loaded.
    #[error(
        "cannot load ONNX Runtime from {path}: {reason}; set ORT_DYLIB_PATH to a libonnxruntime.so of version 1.22 or newer"
    )]
    RuntimeLoad {
        /// The shared library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// The process has another runtime already; there can be only one.
    #[error(
        "{running} runs the models of this process already, ONNX Runtime cannot be loaded from {path} as well"
    )]
    RuntimeTwice {
        /// The one in use.
        running: String,
        /// The one asked for.
        path: PathBuf,
    },
    /// `init_runtime` has not been called.
    #[error("ONNX Runtime is not loaded; call init_runtime first")]
    RuntimeMissing,
    /// ONNX Runtime refused a graph or a run.
    #[error("ONNX Runtime: {0}")]
    Runtime(#[from] ort::Error),
    /// tract refused a graph.
    #[cfg(feature = "tract")]
    #[error(
        "tract cannot run this model: {0}; the README of onnx-grad lists what it cannot, ONNX Runtime runs that too"
    )]
    Tract(String),
    /// tract failed in a run. What it says may have numbers of the data in it.
    #[cfg(feature = "tract")]
    #[error("tract cannot run this model: a step failed: {0}")]
    TractRun(String),
    /// Examples do not fit the model or each other.
    #[error("examples: {0}")]
    Examples(String),
    /// No example counts anything.
    #[error(
        "examples: {0}, so that nothing could be learnt: train on rows of which some count more"
    )]
    Weightless(String),
    /// Parameters given do not fit the model.
    #[error("parameters: {0}")]
    Parameters(String),
    /// The loss or a parameter became infinite or not a number.
    #[error(
        "training diverged in epoch {epoch}: {what} is not finite; lower the learning rate or scale the features"
    )]
    Diverged {
        /// Counted from 1.
        epoch: u32,
        /// `the loss` or a parameter's name.
        what: String,
    },
    /// The loss of an example is infinite or not a number.
    #[error("the loss of example {example} is not finite; the model's parameters have diverged")]
    NotFinite {
        /// Row, counted from 0.
        example: usize,
    },
}

impl From<ort::Error<ort::session::builder::SessionBuilder>> for TrainError {
    fn from(error: ort::Error<ort::session::builder::SessionBuilder>) -> Self {
        Self::Runtime(error.into())
    }
}

#[cfg(feature = "tract")]
impl From<tract_onnx::prelude::TractError> for TrainError {
    fn from(error: tract_onnx::prelude::TractError) -> Self {
        Self::Tract(format!("{error:#}"))
    }
}
