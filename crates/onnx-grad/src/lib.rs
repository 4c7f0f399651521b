//! Training as an ordinary ONNX graph: bytes of a forward model in, bytes of graphs out.
//!
//! A training step is only a graph: forward pass, loss, gradients and parameter update are all
//! ordinary ONNX operators, so that any stock runtime can train. This crate writes that graph; it
//! knows no runtime, no file and no clock.
//!
//! Stages are types, each made from the one before:
//!
//! ```text
//! bytes ──parse──▶ ForwardModel ──▶ Differentiated ──▶ TrainingGraph   one optimiser step
//!                       │                  ├─────────▶ GradientGraph   loss and gradients
//!                       ├────────────────────────────▶ EvalGraph       outputs and loss per example
//!                       └── parameters, Inputs ──────▶ InferenceModel  raw data in, the user's outputs out
//! ```
//!
//! - [`ForwardModel`] is a checked model: opset, element types, shapes with a symbolic batch
//!   dimension, allowed operators, bounded sizes. Foreign bytes become it or an error, never a panic.
//! - [`Differentiated`] has the loss and, by reverse accumulation (Griewank and Walther,
//!   "Evaluating Derivatives", 2008, chapter 3), a gradient for every trainable parameter.
//! - [`Cost`] estimates what a step takes of a device.
//! - [`features`] writes the preprocessing that turns raw columns into the model's input, [`tensors`] that
//!   of inputs that are tensors.
//!
//! Trainable is every float32 initialiser of rank 1 or more that reaches the loss. Integer and
//! scalar initialisers and `Constant` nodes are constants. Of what is trainable, patterns of names say what stays as
//! it is and what does not travel ([`fl_model::ModelOptions`]). One operator is one file under `ops/`.

mod attributes;
mod builder;
mod cost;
mod descent;
mod differentiate;
mod ending;
mod error;
mod evaluation;
pub mod features;
mod forward;
mod gradient;
mod graph;
mod inference;
mod interface;
mod kernels;
mod limits;
mod lora;
mod losses;
mod ops;
mod optimizer;
mod personal;
mod proto;
mod row_sums;
mod shape;
mod tensor;
pub mod tensors;
#[cfg(test)]
mod tests;
mod training;

pub use cost::{Cost, OperatorCost};
pub use differentiate::Differentiated;
pub use ending::{Ending, ending};
pub use error::ModelError;
pub use evaluation::EvalGraph;
pub use forward::{ForwardModel, InputInfo, InputKind, Parameter, Role, Scope};
pub use gradient::{GradientGraph, GradientSlot};
pub use inference::InferenceModel;
pub use interface::{Interface, Port};
pub use kernels::Kernels;
pub use limits::Limits;
pub use lora::{Lora, lora};
pub use ops::supported_operators;
pub use optimizer::check_training;
pub use personal::personal;
pub use training::{NoiseSlot, ParameterSlot, StateSlot, TrainingGraph};
