//! Local training and evaluation on a stock ONNX Runtime, or with the feature `tract` on tract where no ONNX
//! Runtime is named.
//!
//! `onnx-grad` writes the graphs, this crate runs them. Everything here is deterministic on one
//! machine and one runtime: one intra-op thread, sequential execution, shuffles from a given seed,
//! sums in a fixed order.
//!
//! Call [`init_runtime`] once, before anything else: a process has one runtime.
//!
//! - [`encode`] and [`prepare`] turn raw columns into what a model takes, [`scale`] raw tensors.
//! - [`LocalTrainer`] runs the local epochs of a round; one serves every round of a job.
//! - [`gradients`] gives loss and gradients of one batch to who takes steps of their own.
//! - [`Evaluator`] gives loss, predictions and a confusion matrix over held-out examples.
//! - [`parameter_layout`] and [`export`] read a model's parameters and put trained ones back.
//!
//! Wherever a model is asked for, its bytes do; a [`Model`] says beside them which output has the loss, and
//! which parameters stay as they are or on the device. Parameters are always in one order: those that travel,
//! then those that do not.

mod batch;
mod engine;
mod error;
mod evaluator;
mod examples;
mod exported;
mod features;
mod gradient;
mod kernels;
mod model;
mod runtime;
mod shuffle;
mod source;
mod starting;
#[cfg(feature = "test")]
pub mod testing;
mod trainer;
mod weights;
mod windows;

pub use error::TrainError;
pub use evaluator::{Evaluation, Evaluator, Predictions};
pub use examples::{Examples, Input, Matrix, Targets};
pub use exported::{ExportedModel, Score};
pub use features::{encode, prepare, scale};
pub use gradient::{Gradients, gradients};
pub use kernels::kernels;
pub use model::{
    ParameterInfo, Partition, add_lora, check_model, cost, export, export_plain,
    initial_parameters, parameter_layout, partition, personal,
};
pub use onnx_grad::{Cost, Kernels, Lora, OperatorCost};
pub use runtime::{RUNTIME_PATH_VARIABLE, init_runtime, runtime_name, session};
pub use source::Model;
pub use starting::{LocalParameter, local_parameters, starting_parameters};
pub use trainer::{LocalTrainer, LocalTraining};
pub use windows::Windows;

/// The examples of onnx-grad's README.
#[cfg(doctest)]
#[doc = include_str!("../../onnx-grad/README.md")]
struct Readme;
